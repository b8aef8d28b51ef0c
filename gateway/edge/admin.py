"""The admin listener: metrics and health for operators, never for clients."""

import hmac
import ipaddress

from aiohttp import web

from gateway.config import Secret
from gateway.edge.health import Readiness
from gateway.edge.routes import HEALTH_ROUTES
from gateway.telemetry.metrics import Metrics


class AdminEdge:
    """Answers on its own port; metrics need the token where one is set, or loopback."""

    def __init__(self, *, metrics: Metrics, readiness: Readiness, token: Secret | None) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._token = token

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if request.method != "GET":
            return web.Response(status=405)
        if path in HEALTH_ROUTES:
            return self._readiness.answer(HEALTH_ROUTES[path].surface)
        if not self._is_allowed(request):
            return web.Response(status=401, text="Send GATEWAY_ADMIN_TOKEN as a bearer token.\n")
        if path == "/metrics":
            body, content_type = self._metrics.render()
            return web.Response(body=body, headers={"Content-Type": content_type})
        return web.Response(status=404, text="Try /metrics, /livez or /readyz.\n")

    def _is_allowed(self, request: web.BaseRequest) -> bool:
        if self._token is None:
            peer = request.remote
            return peer is not None and ipaddress.ip_address(peer).is_loopback
        presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(presented.encode(), self._token.value.encode())
