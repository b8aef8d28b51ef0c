"""Connections of aiohttp's pool whose bytes go to whoever asked, without its parser and streams."""

import asyncio
import functools
import select
import socket
from typing import Any, Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from typing_extensions import override

# Below the idle time-outs of the providers' own front ends, so that we close first.
KEEPALIVE_S = 15.0
# Bounds what one read may bring, and with it what a client that does not read makes us hold.
_RECEIVE_BUFFER_BYTES = 64 * 1024


class Hearer(Protocol):
    """Whoever a connection's bytes are for."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, exc: BaseException | None) -> None: ...


class ModelConnection(ResponseHandler):
    """A pooled connection. While nobody has asked anything on it, any byte closes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._hearer: Hearer | None = None
        self._poll: select.poll | None = None
        self.is_fresh = True

    def ask(self, hearer: Hearer, head: bytes, body: bytes) -> None:
        """Send a request; from here on its bytes and its end are the hearer's."""
        assert self._hearer is None
        transport = self.transport
        assert transport is not None
        self._hearer = hearer
        self.is_fresh = False
        transport.writelines((head, body))

    def leave(self) -> None:
        """The answer is whole, or given up: nobody hears any more."""
        self._hearer = None
        if self.transport is not None and self.transport.get_write_buffer_size() > 0:
            # Answered before it had read the request: the rest of it is still on its way.
            self.force_close()

    @property
    def is_quiet(self) -> bool:
        """Nothing has come on it that nobody asked for, the end of the connection included.

        The kernel may hold what the event loop has not read yet: without this look, an answer
        that was sent unasked would become the next caller's (aio-libs/aiohttp#13656).
        """
        if self.should_close or self.transport is None:
            return False
        if self._poll is None:
            client: socket.socket | None = self.transport.get_extra_info("socket")
            if client is None:
                return False
            self._poll = select.poll()
            self._poll.register(client.fileno(), select.POLLIN)
        return not self._poll.poll(0)

    @override
    def data_received(self, data: bytes) -> None:
        if self._hearer is not None:
            self._hearer.data_received(data)
            return
        self.force_close()
        self.abort()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        hearer, self._hearer = self._hearer, None
        super().connection_lost(exc)
        if hearer is not None:
            hearer.connection_lost(exc)


class ModelConnector(aiohttp.TCPConnector):
    """aiohttp's pool, DNS cache, TLS and happy eyeballs, with our own kind of connection."""

    def __init__(self) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEPALIVE_S, socket_factory=bounded_socket)
        # The one private attribute of aiohttp that we lean on; start-up proves that it works.
        factory: Any = functools.partial(ModelConnection, loop=asyncio.get_running_loop())
        self._factory = factory


def bounded_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket of which the kernel reads little ahead."""
    family, kind, protocol, _, _ = address
    client = socket.socket(family=family, type=kind, proto=protocol)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return client
