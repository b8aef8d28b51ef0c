"""The admin listener: metrics and health for operators, never for clients."""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.config import Secret
from gateway.domain.clock import Clock, SystemClock, month_of
from gateway.domain.errors import LedgerUnavailableError
from gateway.edge.health import Readiness
from gateway.edge.routes import HEALTH_ROUTES
from gateway.edge.spend_page import spend_page
from gateway.reports.overview import OverviewReport

Exposition = Callable[[], Awaitable[tuple[bytes, str]]]
"""Metrics as text, and its content type."""
_METHODS = ("GET", "HEAD")

_WRONG_HOST = "Without GATEWAY_ADMIN_TOKEN, ask for localhost or its address.\n"


class AdminEdge:
    """Answers on its own port; metrics need the token where one is set, or loopback.

    A private one is on a unix socket in a directory that nobody else can enter.
    """

    def __init__(
        self,
        *,
        exposition: Exposition,
        readiness: Readiness,
        token: Secret | None,
        overview: OverviewReport | None = None,
        clock: Clock | None = None,
        is_private: bool = False,
    ) -> None:
        self._exposition = exposition
        self._readiness = readiness
        self._token = token
        self._overview = overview
        self._clock = clock or SystemClock()
        self._is_private = is_private

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if request.method not in _METHODS:
            return web.Response(status=405, headers={"Allow": ", ".join(_METHODS)})
        if path in HEALTH_ROUTES:
            return self._readiness.answer(HEALTH_ROUTES[path].surface)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if path == "/metrics":
            body, content_type = await self._exposition()
            return web.Response(body=body, headers={"Content-Type": content_type})
        if path == "/" and self._overview is not None:
            return await self._spend_page(self._overview)
        return web.Response(status=404, text="Try /, /metrics, /livez or /readyz.\n")

    async def _spend_page(self, overview: OverviewReport) -> web.Response:
        try:
            page = spend_page(await overview.read(month_of(self._clock.now())))
        except LedgerUnavailableError as error:
            return web.Response(status=error.status, text=f"{error.message}\n")
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        if self._token is None and not (self._is_private or _is_for_loopback(request)):
            return web.Response(status=403, text=_WRONG_HOST)
        if not self._is_allowed(request):
            return web.Response(status=401, text="Send GATEWAY_ADMIN_TOKEN as a bearer token.\n")
        return None

    def _is_allowed(self, request: web.BaseRequest) -> bool:
        if self._is_private:
            return True
        if self._token is None:
            peer = request.remote
            return peer is not None and _is_loopback(peer)
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        is_the_token = hmac.compare_digest(presented.encode(), self._token.value.encode())
        return is_the_token and scheme.lower() == "bearer"


def _is_for_loopback(request: web.BaseRequest) -> bool:
    """Whether the request names this machine.

    Another name may be a web page's, whose browser was told that it is here: the page could read
    the answer.
    """
    for host in request.headers.getall("Host", ()):
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name.lower() != "localhost" and not _is_loopback(name):
            return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
