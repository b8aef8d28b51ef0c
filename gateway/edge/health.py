"""Liveness and readiness: is the process alive, and does it take requests."""

from dataclasses import dataclass

import orjson
from aiohttp import web

from gateway.edge.routes import Surface


@dataclass(slots=True)
class Readiness:
    """Ready between the end of start-up and the begin of the drain.

    The database and PostHog are not part of it: requests are served without them, and a
    balancer that took every gateway out at once would turn their outage into ours.
    """

    is_ready: bool = False

    def answer(self, surface: Surface) -> web.Response:
        is_up = surface is Surface.LIVE or self.is_ready
        return web.Response(
            status=200 if is_up else 503,
            body=orjson.dumps({"status": "ok" if is_up else "draining"}),
            content_type="application/json",
        )
