"""aiohttp's low-level server with a parser-error path that echoes nothing."""

from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from typing_extensions import override

from gateway.domain.errors import InvalidRequestError
from gateway.edge.error_bodies import error_body

_log = structlog.get_logger("gateway.edge")
_READ_BUFFER_BYTES = 16 * 1024
_LINGERING_S = 2.0
KEEPALIVE_TIMEOUT_S = 75.0


class _QuietHandler(RequestHandler):  # type: ignore[type-arg, unused-ignore]
    """Answers what the parser refuses with a fixed body.

    aiohttp's own path puts the offending header, credential and all, into the body and the log.
    """

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

    @override
    def __call__(self) -> RequestHandler:  # type: ignore[type-arg, unused-ignore]
        return _QuietHandler(
            self,
            loop=self._loop,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            access_log=None,  # type: ignore[arg-type]
            lingering_time=_LINGERING_S,
            read_bufsize=_READ_BUFFER_BYTES,
            # An inflated body would be metered and bounded wrongly; encoded ones are refused.
            auto_decompress=False,
        )
