"""aiohttp's connections: parser errors that echo nothing, clients that are heard at once."""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_protocol import RequestHandler
from typing_extensions import override

from gateway.domain.errors import InvalidRequestError
from gateway.edge.call_connection import WRITE_HIGH_WATER_BYTES, bound_send_buffer
from gateway.edge.error_bodies import error_body
from gateway.edge.reply import ClientReply
from gateway.proxy.reply import ClientListener

_log = structlog.get_logger("gateway.edge")


class FrameworkConnection(RequestHandler):  # type: ignore[type-arg, unused-ignore]
    """A connection of a client. It tells its listener at once when it fills, empties or closes.

    What the parser refuses it answers with a fixed body: aiohttp's own path puts the offending
    header, credential and all, into the body and the log.
    """

    listener: ClientListener | None = None
    takes_more: bool = True
    """Another request may follow the one that is here, or the next."""

    head_since_s: float | None = None
    """When bytes came that are no whole head yet, on the loop's clock."""

    @property
    def is_receiving(self) -> bool:
        """A request has begun to arrive and is not whole."""
        request = self._current_request
        return bool(self._messages) if request is None else not request.content.is_eof()

    @property
    def is_idle(self) -> bool:
        """No request is here; one may be on its way."""
        return self._current_request is None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.bound_buffers()
        bound_send_buffer(transport)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self.head_since_s = None
        elif self.head_since_s is None:
            self.head_since_s = self._loop.time()

    def close_if_head_is_late(self, before_s: float) -> None:
        """Close where a head began to arrive before then, and is not whole."""
        if self.head_since_s is not None and self.head_since_s <= before_s and self.is_idle:
            self.force_close()

    def bound_buffers(self) -> None:
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)

    def answer_begins(self) -> None:
        """The framework cannot answer with an error of its own any more."""
        if self._current_request is not None:
            self._current_request.writer.output_size = 1

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        if self.listener is not None:
            self.listener.client_is_full()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self.listener is not None:
            self.listener.client_has_room()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        listener, self.listener = self.listener, None
        super().connection_lost(exc)
        if listener is not None:
            listener.client_is_gone()

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        _log.warning("request.unparsable", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            # Part of an answer is out: all that is left is to break the connection.
            raise ConnectionError
        is_ours = status >= 500  # noqa: PLR2004 - server errors.
        text = "The gateway failed." if is_ours else "The request is not valid HTTP."
        response = web.Response(
            status=status,
            body=error_body(InvalidRequestError(text), None, ""),
            content_type="application/json",
        )
        response.force_close()
        return response

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        _log.error("request.failed", error=type(error).__name__)


class _Sent(web.StreamResponse):
    """What the framework is given back for an answer whose bytes have been written already."""

    def __init__(self, *, keeps_alive: bool) -> None:
        super().__init__()
        self._keeps_alive = keeps_alive

    @property
    @override
    def keep_alive(self) -> bool:
        return self._keeps_alive

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        assert not data


_SENT_AND_KEPT = _Sent(keeps_alive=True)
_SENT_AND_CLOSED = _Sent(keeps_alive=False)


def reply_to(request: web.BaseRequest, own_headers: list[tuple[str, str]]) -> ClientReply:
    """The answer to a request of the framework's, straight to its connection."""
    connection = request.protocol
    assert isinstance(connection, FrameworkConnection)
    return ClientReply(
        connection,
        own_headers=own_headers,
        keeps_alive=request.keep_alive,
        takes_chunks=request.version >= (1, 1),
    )


def sent(reply: ClientReply) -> web.StreamResponse:
    """What the framework wants back once a reply has gone out."""
    return _SENT_AND_KEPT if reply.keeps_alive else _SENT_AND_CLOSED
