"""A PostHog that is a real HTTP server: takes batches, answers flags, fails as it is told."""

import asyncio
import gzip
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

BATCH_PATHS = ("/batch/", "/batch", "/i/v0/ai/batch/", "/i/v0/e/", "/capture/")
DEFINITION_PATHS = (
    "/flags/definitions",
    "/api/feature_flag/local_evaluation",
    "/api/feature_flag/local_evaluation/",
)


def flag(
    key: str,
    *,
    is_active: bool = True,
    properties: list[dict[str, Any]] | None = None,
    rollout_percentage: int = 100,
    flag_id: int = 1,
) -> dict[str, Any]:
    """A flag definition for local evaluation; `properties` as in PostHog's release conditions."""
    return {
        "id": flag_id,
        "team_id": 1,
        "name": "",
        "key": key,
        "active": is_active,
        "deleted": False,
        "ensure_experience_continuity": False,
        "version": 1,
        "filters": {
            "groups": [{"properties": properties or [], "rollout_percentage": rollout_percentage}],
            "payloads": {},
            "multivariate": None,
        },
    }


@dataclass
class Received:
    """One request as it came: `events` are those of a batch, whatever was answered."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    was_compressed: bool
    status: int = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        return list(self.body.get("batch", [])) if isinstance(self.body, dict) else []


@dataclass
class FakePostHog:
    """Use as `async with FakePostHog() as posthog:`; change the attributes while it runs.

    Modes: `ok`, `503`, `401`, `400`, `413` (every batch), `429` (with `retry_after_s`), `hang` (answers never),
    `slow` (answers after `delay_s`), `trickle` (a byte now and then, without end), `reset` (drops the connection). `script` holds modes for the next
    batches, one each, before `mode` counts. In mode `ok` a batch with one of `refused_ids` is a 400,
    and one with more than `events_max` events, or `bytes_max` bytes, a 413.
    """

    mode: str = "ok"
    script: deque[str] = field(default_factory=deque)
    retry_after_s: str = "1"
    delay_s: float = 0.0
    refused_ids: set[str] = field(default_factory=set)
    events_max: int = 10_000
    bytes_max: int = 20 << 20
    flags: list[dict[str, Any]] = field(default_factory=list)
    flags_status: int = 200
    group_types: dict[str, str] = field(default_factory=dict)
    etag: str = '"v1"'

    requests: list[Received] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    """Accepted events, repeats included."""
    url: str = ""

    async def __aenter__(self) -> Self:
        self._released = asyncio.Event()
        app = web.Application(client_max_size=64 << 20)
        for path in BATCH_PATHS:
            app.router.add_post(path, self._batch)
        for path in DEFINITION_PATHS:
            app.router.add_get(path, self._definitions)
        app.router.add_post("/flags/", self._flags)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._released.set()
        await self._runner.cleanup()

    @property
    def event_ids(self) -> list[str]:
        return [event["uuid"] for event in self.events]

    @property
    def batches(self) -> list[Received]:
        return [received for received in self.requests if received.path in BATCH_PATHS]

    async def wait_for_events(self, count: int, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """The accepted events, once there are `count` different ones."""
        async with asyncio.timeout(timeout_s):
            while len(set(self.event_ids)) < count:
                await asyncio.sleep(0.005)
        return self.events

    async def wait_for_batches(self, count: int, timeout_s: float = 10.0) -> list[Received]:
        async with asyncio.timeout(timeout_s):
            while len(self.batches) < count:
                await asyncio.sleep(0.005)
        return self.batches

    async def _received(self, request: web.Request) -> tuple[Received, int]:
        raw = await request.read()
        # aiohttp's server inflates a body and leaves the header.
        was_compressed = (
            request.headers.get("Content-Encoding") == "gzip" or "compression" in request.query
        )
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        received = Received(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=dict(request.headers),
            body=json.loads(raw) if raw else None,
            was_compressed=was_compressed,
        )
        self.requests.append(received)
        return received, len(raw)

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        received, size = await self._received(request)
        mode = self.script.popleft() if self.script else self.mode
        if mode == "hang":
            await self._released.wait()
        if mode == "slow":
            await asyncio.sleep(self.delay_s)
        if mode == "trickle":
            return await self._trickle(request)
        if mode in {"reset", "hang"}:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        received.status = self._status(mode, received, size)
        if received.status == 200:
            self.events += received.events
            return web.json_response({"status": "Ok"})
        headers = {"Retry-After": self.retry_after_s} if received.status == 429 else {}
        return web.json_response({"detail": "as told"}, status=received.status, headers=headers)

    async def _trickle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not self._released.is_set():
            try:
                await response.write(b" ")
            except ConnectionError:
                break
            await asyncio.sleep(0.02)
        return response

    def _status(self, mode: str, received: Received, size: int) -> int:
        if mode.isdigit():
            return int(mode)
        if len(received.events) > self.events_max or size > self.bytes_max:
            return 413
        if any(event["uuid"] in self.refused_ids for event in received.events):
            return 400
        return 200

    async def _definitions(self, request: web.Request) -> web.Response:
        await self._received(request)
        if self.mode == "hang":
            await self._released.wait()
        if self.flags_status != 200:
            return web.json_response({"detail": "as told"}, status=self.flags_status)
        if request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304, headers={"ETag": self.etag})
        definitions = {
            "flags": self.flags,
            "group_type_mapping": self.group_types,
            "cohorts": {},
        }
        return web.json_response(definitions, headers={"ETag": self.etag})

    async def _flags(self, request: web.Request) -> web.Response:
        """Remote evaluation, which the gateway never asks for: it knows nothing."""
        await self._received(request)
        return web.json_response(
            {"flags": {}, "errorsWhileComputingFlags": False, "requestId": "fake"}
        )
