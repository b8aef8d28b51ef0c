"""The cost reports of Anthropic and OpenAI as real HTTP servers, two buckets a page."""

import json
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

ADMIN_KEY = "sk-admin-secret-0123456789"


class CostReports:
    """`days` and their amounts: cents as text for Anthropic, USD as a number for OpenAI."""

    def __init__(self) -> None:
        self.days: list[tuple[datetime, list[str]]] = []
        self.received: list[web.Request] = []
        self.status = 200
        self.url = ""
        app = web.Application()
        app.router.add_get("/v1/organizations/cost_report", self._anthropic)
        app.router.add_get("/v1/organization/costs", self._openai)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _anthropic(self, request: web.Request) -> web.Response:
        self.received.append(request)
        if request.headers.get("x-api-key") != ADMIN_KEY or self.status != 200:
            return web.json_response({"error": {"type": "authentication_error"}}, status=401)
        start = datetime.fromisoformat(request.query["starting_at"])
        end = datetime.fromisoformat(request.query["ending_at"])
        return self._page(
            request,
            [
                {
                    "starting_at": f"{day:%Y-%m-%dT%H:%M:%SZ}",
                    "results": [{"currency": "USD", "amount": amount} for amount in amounts],
                }
                for day, amounts in self.days
                if start <= day < end
            ],
        )

    async def _openai(self, request: web.Request) -> web.Response:
        self.received.append(request)
        if request.headers.get("Authorization") != f"Bearer {ADMIN_KEY}" or self.status != 200:
            return web.json_response({"error": {"code": "invalid_api_key"}}, status=401)
        start, end = int(request.query["start_time"]), int(request.query["end_time"])
        return self._page(
            request,
            [
                {
                    "object": "bucket",
                    "start_time": int(day.timestamp()),
                    "end_time": int(day.timestamp()) + 86_400,
                    "results": [
                        {"amount": {"value": f"<{amount}>", "currency": "usd"}}
                        for amount in amounts
                    ],
                }
                for day, amounts in self.days
                if start <= day.timestamp() < end
            ],
        )

    @staticmethod
    def _page(request: web.Request, buckets: list[dict[str, Any]]) -> web.Response:
        at = int(request.query.get("page", "page_0").removeprefix("page_"))
        has_more = at + 2 < len(buckets)
        page = {
            "data": buckets[at : at + 2],
            "has_more": has_more,
            "next_page": f"page_{at + 2}" if has_more else None,
        }
        # A JSON number with all its digits, which no float would keep.
        text = json.dumps(page).replace('"<', "").replace('>"', "")
        return web.Response(text=text, content_type="application/json")


def day(year: int, month: int, number: int) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)
