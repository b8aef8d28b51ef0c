"""The ledger as the month fills: posting, the guard's readings, and reports."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from statistics import median

from gateway.domain.ids import TeamId, new_uuid
from gateway.ledger.lease_client import LeaseClient
from gateway.ledger.posting import post
from gateway.postgres.connection import DedicatedConnection
from scripts.bench_posting import BATCH_ROWS, entries
from scripts.scale.databases import add_rows
from scripts.scale.site import CLOCK, MONTH, Site, Size, say
from scripts.scale.timing import timed_ms


async def bench_ledger(site: Site, size: Size) -> None:
    """Posting, readings and reports as the month fills."""
    made = 0
    for rows in (0, *(step for step in (1_000_000, 10_000_000) if step <= size.rows)):
        if rows:
            await add_rows(site.url(size), made + 1, rows)
            made = rows
        say(f"ledger of {rows:,} rows")
        await _bench_posts(site, size)
        await bench_readings(site.url(size), size.teams)
        for words in (("spend",), ("ledger", "verify")):
            say(f"  gateway {' '.join(words)}: {await _command_s(site.url(size), words):.2f} s")


async def bench_readings(url: str, teams: int) -> None:
    """The guard's questions to the database: readings of some and of all teams."""
    connection = DedicatedConnection(url, application_name="scale-read")
    leases = LeaseClient(connection, writer_id=new_uuid(CLOCK), timeout_s=60)
    some = [TeamId(n) for n in range(1, min(teams, 200) + 1)]
    one_ms = await timed_ms(lambda: leases.read(some[:1], MONTH), 50)
    some_ms = await timed_ms(lambda: leases.read(some, MONTH), 20)
    all_ms = await timed_ms(lambda: leases.read(None, MONTH), 3)
    await connection.close()
    say(
        f"  guard's reading: one team {one_ms:.2f} ms, {len(some)} teams {some_ms:.1f} ms, "
        f"all {teams:,} at start {all_ms:.0f} ms"
    )


async def _bench_posts(site: Site, size: Size) -> None:
    connection = DedicatedConnection(site.url(size), application_name="scale-post")
    writer_id = new_uuid(CLOCK)
    await post(connection, writer_id, entries(BATCH_ROWS, size.teams), timeout_s=60)
    batches = [entries(BATCH_ROWS, size.teams) for _ in range(40)]
    rates: list[float] = []
    before = site.clocks()
    for batch in batches:
        started_s = time.monotonic()
        await post(connection, writer_id, batch, timeout_s=60)
        rates.append(BATCH_ROWS / (time.monotonic() - started_s))
    spent_s = sum(site.clocks().since(before))
    await connection.close()
    say(
        f"  posting: {median(rates):,.0f} rows/s (median of {len(batches)} batches), "
        f"{spent_s / len(batches) / BATCH_ROWS * 1e6:.0f} us CPU a row, both sides"
    )


async def _command_s(url: str, words: Sequence[str]) -> float:
    started_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *words,
        env={**os.environ, "GATEWAY_DATABASE_URL": url},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return time.monotonic() - started_s
