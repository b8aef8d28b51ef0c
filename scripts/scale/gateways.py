"""CPU a request of gateways that take turns at one load, each with a database of another size."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from bench.contenders import CREDENTIAL, Running, started
from bench.processes import rss_kb, start, stop
from scripts.scale.caller import call
from scripts.scale.site import Site, say

REQUESTS = 1000
# What a gateway puts off is done this long after the last answer.
REST_S = 1.6


@contextmanager
def gateway(
    site: Site, url: str, upstream_port: int, *, name: str, workers: int = 1
) -> Iterator[Running]:
    """`gateway serve` with everything on; with several workers on all cores."""
    upstream = f"http://127.0.0.1:{upstream_port}"
    directory = site.directory / f"gateway-{name}-{workers}"
    directory.mkdir(exist_ok=True)
    environment = {key: "" for key in os.environ if key.startswith("GATEWAY_")} | {
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_DATABASE_URL": url,
        "GATEWAY_DATA_DIR": str(directory / "data"),
        "GATEWAY_ANTHROPIC_BASE_URL": upstream,
        "GATEWAY_ANTHROPIC_API_KEY": "sk-ant-bench",
        "GATEWAY_POSTHOG_HOST": upstream,
        "GATEWAY_POSTHOG_PROJECT_KEY": "phc_bench",
    }
    started_s = time.monotonic()
    process = start(
        [sys.executable, "-m", "gateway", "serve", "--json"],
        core=site.cores.contender,
        output=subprocess.PIPE,
        errors=directory / "log",
        environment=environment,
    )
    try:
        ready = started(process, directory / "log")
        ready_s = time.monotonic() - started_s
        port = int(str(ready["url"]).rpartition(":")[2])
        running = Running(name=name, port=port, headers=CREDENTIAL, process=process)
        say(f"  {name}, {workers} workers: ready in {ready_s:.1f} s, {rss_mb(running):.0f} MB")
        yield running
    finally:
        stop(process)


def rss_mb(running: Running) -> float:
    return rss_kb(running.pids()[0]) / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A gateway, and over how many keys its load is spread."""

    to: Running
    keys: int

    @property
    def label(self) -> str:
        return f"{self.to.name}, {self.keys:,} used"


async def bench_gateways(site: Site, points: Sequence[Point], rounds: int) -> None:
    """Rounds over all points; prints medians of CPU a request, gateway's and database's."""
    figures: dict[str, list[tuple[float, float]]] = {point.label: [] for point in points}
    refused: Counter[str] = Counter()

    async def load(point: Point, count: int) -> None:
        refused[point.to.name] += await call(point.to.port, point.keys, count)

    for point in points:
        await load(point, max(300, point.keys))
    site.pin_database()
    for number in range(rounds):
        for point in points if number % 2 else tuple(reversed(points)):
            # Each key once more, so that the round finds memory as the round before left it.
            await load(point, max(100, point.keys))
            await asyncio.sleep(REST_S)
            before, site_before = point.to.clocks(), site.clocks()
            await load(point, REQUESTS)
            await asyncio.sleep(REST_S)
            own_s, _ = point.to.clocks().since(before)
            _, database_s = site.clocks().since(site_before)
            figures[point.label].append((own_s / REQUESTS * 1e6, database_s / REQUESTS * 1e6))
    base = [us for us, _ in figures[points[0].label]]
    say(f"CPU us a request, median of {rounds} rounds [least-most]; ratio to the first")
    for label, found in figures.items():
        own_us = [us for us, _ in found]
        ratio = median(us / first for us, first in zip(own_us, base, strict=True))
        say(
            f"  {label:<34} {median(own_us):7.0f} [{min(own_us):.0f}-{max(own_us):.0f}]"
            f"  x{ratio:.2f}  all databases' {median(us for _, us in found):6.0f}"
        )
    for to in {point.to.name: point.to for point in points}.values():
        before = to.clocks()
        await asyncio.sleep(3)
        own_s, _ = to.clocks().since(before)
        say(
            f"  {to.name}: at rest {own_s / 3 * 1e3:.1f} ms CPU a second, "
            f"{rss_mb(to):.0f} MB, {refused[to.name]} answers of 503 in all"
        )
