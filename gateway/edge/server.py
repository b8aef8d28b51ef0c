"""aiohttp's low-level server: parser errors that echo nothing, clients that are heard at once."""

import asyncio
import socket
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from typing_extensions import override

from gateway.domain.errors import InvalidRequestError
from gateway.edge.error_bodies import error_body
from gateway.proxy.reply import ClientListener

_log = structlog.get_logger("gateway.edge")
_READ_BUFFER_BYTES = 16 * 1024
# What a reader that does not read may cost, instead of megabytes at the system's defaults.
_WRITE_HIGH_WATER_BYTES = 32 * 1024
_SEND_BUFFER_BYTES = 64 * 1024
_LINGERING_S = 2.0
_POLL_S = 0.02
KEEPALIVE_TIMEOUT_S = 75.0


class ClientConnection(RequestHandler):  # type: ignore[type-arg, unused-ignore]
    """A connection of a client. It tells its listener at once when it fills, empties or closes.

    What the parser refuses it answers with a fixed body: aiohttp's own path puts the offending
    header, credential and all, into the body and the log.
    """

    listener: ClientListener | None = None
    takes_more: bool = True
    """Another request may follow the one that is here, or the next."""

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
        client: socket.socket | None = transport.get_extra_info("socket")
        if client is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def bound_buffers(self) -> None:
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)

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


class QuietServer(web.Server):  # type: ignore[type-arg, unused-ignore]
    """The server of the client listener."""

    async def let_requests_arrive(self, *, quiet_s: float, timeout_s: float) -> None:
        """Take what clients have sent or are about to, once there are no new connections.

        The framework's shutdown closes a connection on which nothing has come yet, and reads no
        more of a body: the client would see its request dropped. A connection without a request
        is kept for `quiet_s`, one whose request is arriving for `timeout_s`.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        # A connection that was accepted in this turn of the loop is made in the next one.
        await asyncio.sleep(0)
        while (waited_s := loop.time() - began_s) < timeout_s:
            is_quiet = waited_s >= quiet_s
            connections = [one for one in self.connections if isinstance(one, ClientConnection)]
            for connection in connections:
                connection.takes_more = False
            if not any(one.is_receiving or (one.is_idle and not is_quiet) for one in connections):
                return
            await asyncio.sleep(_POLL_S)

    @override
    def __call__(self) -> RequestHandler:  # type: ignore[type-arg, unused-ignore]
        return ClientConnection(
            self,
            loop=self._loop,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            access_log=None,  # type: ignore[arg-type]
            lingering_time=_LINGERING_S,
            read_bufsize=_READ_BUFFER_BYTES,
            # An inflated body would be metered and bounded wrongly; encoded ones are refused.
            auto_decompress=False,
        )
