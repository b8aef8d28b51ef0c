"""A client's connection while it carries model calls in their plainest form, read by ourselves.

The framework's way for a request costs as much as all of ours behind it: a parser, a URL, a
stream, a task that waits for each. What is not plain goes there, with the connection.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from typing_extensions import override

from gateway.domain.identity import Principal
from gateway.domain.ids import EntryId
from gateway.edge.call_head import CallHead
from gateway.edge.incoming_body import IncomingBody
from gateway.edge.reply import ClientReply
from gateway.proxy.reply import ClientListener
from gateway.wire.http1_request import (
    HEAD_BYTES_MAX,
    RequestHead,
    length_apart,
    read_plain_head,
)

# What a reader that does not read may cost, instead of megabytes at the system's defaults.
WRITE_HIGH_WATER_BYTES = 32 * 1024
SEND_BUFFER_BYTES = 64 * 1024
LINGERING_S = 2.0
# Of requests that are sent before the one that runs is answered.
_KEPT_BYTES_MAX = 64 * 1024
_HEAD_END = b"\r\n\r\n"


Rest = Coroutine[Any, Any, None]


class CallTurn:
    """One call on its connection, and what is known of it so far."""

    __slots__ = ("body", "entry_id", "head", "principal", "reply")

    def __init__(
        self, head: CallHead, entry_id: EntryId, body: IncomingBody, reply: ClientReply
    ) -> None:
        self.head = head
        self.entry_id = entry_id
        self.body = body
        self.reply = reply
        self.principal: Principal | None = None


class CallHandler(Protocol):
    """What becomes of a call, and of what is none."""

    def recognise(self, head: RequestHead) -> CallHead | None:
        """None where the framework's way has to answer, refusals included."""
        ...

    def takes_body_of(self, content_bytes: int) -> bool:
        """Whether a body of this size is within its bound."""
        ...

    def new_turn(
        self, head: CallHead, connection: "CallConnection", body: IncomingBody
    ) -> CallTurn: ...

    def begin(self, turn: CallTurn, on_end: Callable[[Rest | None], None]) -> Rest | None:
        """Answer as far as nobody has to be waited for; the rest is in the coroutine.

        Without one, `on_end` is called at the end, with what is still to be done, if anything. The
        coroutines raise nothing but a cancellation, whatever happens.
        """
        ...


class Connections(Protocol):
    """Who keeps count of the connections."""

    def forget(self, connection: "CallConnection") -> None: ...

    def new_framework_connection(self) -> "asyncio.Protocol":
        """Somebody who takes a connection over."""
        ...


class CallConnection(asyncio.Protocol):
    """One call after the other. It tells its listener when it fills, empties or closes."""

    __slots__ = (
        "_call",
        "_connections",
        "_handler",
        "_head_rest",
        "_is_held",
        "_is_lingering",
        "_kept",
        "_loop",
        "_task",
        "_turn",
        "idle_since_s",
        "listener",
        "takes_more",
        "transport",
        "writing_paused",
    )

    def __init__(
        self, handler: CallHandler, connections: Connections, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = loop
        self._head_rest = b""
        self._call: CallHead | None = None
        """What the last head said, which clients repeat word for word."""
        self._turn: CallTurn | None = None
        self._kept = b""
        self._is_held = False
        self._is_lingering = False
        self._task: asyncio.Task[None] | None = None
        self.idle_since_s = loop.time()
        self.listener: ClientListener | None = None
        self.takes_more = True
        """Another request may follow the one that is here, or the next."""
        self.transport: asyncio.Transport | None = None
        self.writing_paused = False

    @property
    def is_idle(self) -> bool:
        """No request is here; one may be on its way."""
        return self._turn is None

    @property
    def is_receiving(self) -> bool:
        """A request has begun to arrive and is not whole."""
        return self._turn is not None and not self._turn.body.is_whole

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one in all but its bases.
        self.transport = cast("asyncio.Transport", transport)
        self.bound_buffers()
        bound_send_buffer(transport)

    def bound_buffers(self) -> None:
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)

    @override
    def data_received(self, data: bytes) -> None:
        turn = self._turn
        if turn is None:
            if not self._is_lingering:
                self._begin(data)
            return
        if not turn.body.is_whole:
            data = turn.body.feed(data)
        if data:
            self._keep(data)

    @override
    def pause_writing(self) -> None:
        self.writing_paused = True
        if self.listener is not None:
            self.listener.client_is_full()

    @override
    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.listener is not None:
            self.listener.client_has_room()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._connections.forget(self)
        if self._task is not None:
            self._task.cancel()
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.client_is_gone()

    def answer_begins(self) -> None:
        """Nobody else could answer here."""

    def close_if_idle(self, before_s: float) -> None:
        """Close where nothing has come since then."""
        if self._turn is None and self.idle_since_s <= before_s and self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _begin(self, data: bytes) -> None:
        """Take the request that begins with these bytes, or hand it and the connection over."""
        end = data.find(_HEAD_END, 0, HEAD_BYTES_MAX + len(_HEAD_END))
        known = self._known(data[:end]) if end >= 0 else None
        transport = self.transport
        if transport is None:
            return
        if known is None:
            self._hand_over(transport, data)
            return
        call, content_bytes = known
        body = IncomingBody(transport, content_bytes)
        rest = body.feed(data[end + len(_HEAD_END) :])
        if rest:
            self._keep(rest)
        turn = self._turn = self._handler.new_turn(call, self, body)
        self._go_on(self._handler.begin(turn, self._end))

    def _known(self, head: bytes) -> tuple[CallHead, int] | None:
        parts = length_apart(head)
        if parts is not None and self._call is not None and parts.rest == self._head_rest:
            if not self._handler.takes_body_of(parts.content_bytes):
                return None
            return self._call, parts.content_bytes
        plain = read_plain_head(head)
        call = None if plain is None else self._handler.recognise(plain)
        if plain is None or call is None:
            return None
        if parts is not None and parts.content_bytes == plain.content_bytes:
            self._head_rest, self._call = parts.rest, call
        return call, plain.content_bytes

    def _go_on(self, rest: Rest | None) -> None:
        """Run what has to be waited for; without it the call runs by callbacks."""
        if rest is not None:
            self._task = self._loop.create_task(self._run(rest))

    async def _run(self, rest: Rest) -> None:
        try:
            await rest
        except BaseException:
            # Cancelled: the client has gone, or nobody is to wait for an answer any more.
            self.abort()
            raise
        finally:
            self._task = None
            self._end(None)

    def _end(self, rest: Rest | None) -> None:
        """The call has ended, but for the rest of it."""
        if rest is not None:
            self._go_on(rest)
            return
        turn, self._turn = self._turn, None
        self.listener = None
        transport = self.transport
        if turn is None or transport is None or transport.is_closing():
            return
        self.idle_since_s = self._loop.time()
        if not turn.body.is_whole:
            # Closed at once, the client might never read what it was told.
            self._is_lingering = True
            turn.body.drop()
            self._loop.call_later(LINGERING_S, transport.close)
            return
        if not (turn.reply.keeps_alive and self.takes_more):
            transport.close()
            return
        if self._is_held:
            self._is_held = False
            transport.resume_reading()
        if self._kept:
            data, self._kept = self._kept, b""
            self._begin(data)

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > _KEPT_BYTES_MAX and not self._is_held and self.transport is not None:
            self._is_held = True
            self.transport.pause_reading()

    def _hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        self.transport = None
        self._connections.forget(self)
        successor = self._connections.new_framework_connection()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(data)


def bound_send_buffer(transport: asyncio.BaseTransport) -> None:
    """Let the kernel hold little for a reader that does not read."""
    client: socket.socket | None = transport.get_extra_info("socket")
    if client is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
