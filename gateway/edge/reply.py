"""An answer to a client, straight to its connection: a head of ours, pieces as they come."""

import asyncio
import socket
import struct
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from multidict import CIMultiDict

from gateway.domain.budget import BudgetView
from gateway.domain.errors import ClientGoneError
from gateway.edge.budget_headers import budget_headers
from gateway.proxy.relays import STALL_TIMEOUT_S
from gateway.proxy.reply import ClientListener

_LAST_CHUNK = b"0\r\n\r\n"
_NO_CONTENT = 204
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}
# Closing with it sends a reset: for a body without framing an ordinary close would be a clean end.
_RESETS = struct.pack("ii", 1, 0)


class ReplyConnection(Protocol):
    """A client's connection as its reply needs it, whoever reads what comes on it."""

    listener: ClientListener | None
    takes_more: bool

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once the connection is closed."""
        ...

    @property
    def writing_paused(self) -> bool: ...

    def bound_buffers(self) -> None:
        """Set the limits of what may wait to be sent."""
        ...

    def answer_begins(self) -> None:
        """From now on nobody else can answer."""
        ...


class ClientReply:
    """One answer to one request."""

    def __init__(
        self,
        connection: ReplyConnection,
        *,
        own_headers: list[tuple[str, str]],
        keeps_alive: bool = True,
        takes_chunks: bool = True,
    ) -> None:
        """`keeps_alive` is the client's wish, and `takes_chunks` whether it speaks HTTP/1.1."""
        self._connection = connection
        self._own_headers = own_headers
        self._view: BudgetView | None = None
        self._is_simulated = False
        self._transport = connection.transport
        self._head = b""
        """Made, and not out yet."""
        self._frames_chunks = False
        self._ends_by_closing = False
        self.has_started = False
        self.takes_chunks = takes_chunks
        self._keeps_alive = keeps_alive and takes_chunks and connection.takes_more

    @property
    def keeps_alive(self) -> bool:
        """The connection takes another request after this answer."""
        return self._keeps_alive

    def set_budget(self, view: BudgetView) -> None:
        self._view = view

    @property
    def budget(self) -> BudgetView | None:
        return self._view

    def set_simulated(self) -> None:
        self._is_simulated = True

    def headers(self, provider_headers: list[tuple[str, str]]) -> CIMultiDict[str]:
        """The provider's headers, then ours, which win where both name one."""
        return CIMultiDict(self._joined(provider_headers))

    def listen(self, listener: ClientListener) -> None:
        if self._connection.transport is None:
            raise ClientGoneError
        self._connection.listener = listener

    def start(
        self,
        status: int,
        headers: list[tuple[str, str]],
        *,
        content_bytes: int | None,
        is_framed: bool,
    ) -> None:
        lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} "]
        for name, value in self._joined(headers):
            lines.append(f"{name}: {value}")
        if content_bytes is not None:
            if status != _NO_CONTENT:
                lines.append(f"Content-Length: {content_bytes}")
        elif self.takes_chunks:
            lines.append("Transfer-Encoding: chunked")
            self._frames_chunks = not is_framed
        else:
            self._ends_by_closing = True
        if not self._keeps_alive:
            lines.append("Connection: close")
        lines.append(f"Date: {_http_date()}\r\n\r\n")
        self._head = "\r\n".join(lines).encode("utf-8", "surrogateescape")

    def send_head(self) -> None:
        if self._head:
            self._send(b"")

    def write(self, piece: bytes) -> None:
        if self._frames_chunks:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._head:
            self._send(piece)
            return
        # As `_send` does, without a call: this runs once an event.
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ClientGoneError
        transport.write(piece)

    def end(self) -> None:
        if self._frames_chunks:
            self._send(_LAST_CHUNK)
        else:
            self.send_head()

    def abort(self) -> None:
        transport = self._transport
        if transport is None:
            return
        self._keeps_alive = False
        if not self._ends_by_closing and transport.get_write_buffer_size() == 0:
            # What was sent arrives, and its framing says that it is not all.
            transport.close()
            return
        client: socket.socket | None = transport.get_extra_info("socket")
        if client is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
        transport.abort()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """A whole answer of the gateway's own, with the headers of every answer."""
        self.start(status, headers, content_bytes=len(body), is_framed=False)
        self._send(body)

    def close_after(self) -> None:
        """Tell the client that the connection takes no other request."""
        self._keeps_alive = False

    @property
    def is_sent(self) -> bool:
        """All of it has gone out, or never will; nobody hears of the connection any more."""
        self._connection.listener = None
        transport = self._transport
        return transport is None or transport.is_closing() or transport.get_write_buffer_size() == 0

    async def flush(self) -> None:
        """Wait until the client has taken the answer, and cut one that does not.

        Raises:
            ClientGoneError: it is gone.
        """
        connection, transport = self._connection, self._transport
        connection.listener = None
        if transport is None or transport.is_closing():
            raise ClientGoneError
        if transport.get_write_buffer_size() == 0:
            return
        emptied = _Emptied()
        connection.listener = emptied
        transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(STALL_TIMEOUT_S):
                if connection.writing_paused:
                    await emptied.event.wait()
        except TimeoutError as exc:
            transport.abort()
            raise ClientGoneError from exc
        finally:
            connection.listener = None
            connection.bound_buffers()

    def _joined(self, provider_headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        own = [*self._own_headers, *budget_headers(self._view)]
        if self._is_simulated:
            own.append(("x-gateway-simulated", "true"))
        own_names = {name for name, _ in own}
        joined = [item for item in provider_headers if item[0].lower() not in own_names]
        joined += own
        return joined

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ClientGoneError
        if self._head:
            data = self._head + data
            self._head = b""
            self.has_started = True
            self._connection.answer_begins()
        transport.write(data)


class _Emptied:
    """Waits for a client's buffers to empty, or for the client to go."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def client_is_full(self) -> None:
        pass

    def client_has_room(self) -> None:
        self.event.set()

    def client_is_gone(self) -> None:
        self.event.set()


_date: tuple[int, str] = (-1, "")


def _http_date() -> str:
    """The time as HTTP writes it, made once a second."""
    global _date  # noqa: PLW0603 - a cache of one.
    second = int(asyncio.get_running_loop().time())
    if _date[0] != second:
        _date = (second, formatdate(usegmt=True))
    return _date[1]
