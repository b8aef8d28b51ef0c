"""The databases of a run: teams, keys, and rows in the present month."""

import asyncio
import time

from gateway.cli.session import upgrade_with_prices
from gateway.postgres.connection import connect
from scripts.bench_posting import GENERATE, GENERATE_ROWS
from scripts.scale.site import MONTH, Site, Size, say

CAPPED_MAX = 10_000
_DETAIL = '{"rates":{"input":"3","cache_read":"0.3","output":"15"},"stop_reason":"end_turn"}'
_INSERT_TEAMS = """
INSERT INTO ledger.team (name, monthly_cap_usd)
SELECT 'team ' || n, CASE WHEN n <= $2 THEN 1000000000 END FROM generate_series(1, $1::int) AS n
"""
# A key's text is its number, so that whoever calls can make it again.
_INSERT_KEYS = """
INSERT INTO ledger.api_key (team_id, key_hash, key_prefix)
SELECT (n - 1) % $2::int + 1, sha256(('gw_scale_' || n)::bytea), left('gw_scale_' || n, 11)
FROM generate_series($3::int, $1::int) AS n
"""


def key_of(number: int) -> str:
    return f"gw_scale_{number}"


async def make(site: Site, size: Size) -> None:
    owner = await connect(site.server.url(), application_name="scale-make")
    await owner.execute(f'CREATE DATABASE "{size.name}"')
    await owner.close()
    url = site.url(size)
    await asyncio.to_thread(upgrade_with_prices, url)
    connection = await connect(url, application_name="scale-make")
    started_s = time.monotonic()
    await connection.execute("SELECT ledger.ensure_month($1)", MONTH)
    await connection.execute(_INSERT_TEAMS, size.teams, CAPPED_MAX, timeout=300)
    for first in range(1, size.keys + 1, 100_000):
        last = min(first + 99_999, size.keys)
        await connection.execute(_INSERT_KEYS, last, size.teams, first, timeout=300)
    await connection.execute("ANALYZE", timeout=300)
    await connection.close()
    say(
        f"made {size.name}: {size.teams:,} teams, {size.keys:,} keys "
        f"in {time.monotonic() - started_s:.1f} s"
    )


async def add_rows(url: str, first: int, last: int) -> None:
    connection = await connect(url, application_name="scale-rows")
    started_s = time.monotonic()
    for begin in range(first, last + 1, GENERATE_ROWS):
        end = min(begin + GENERATE_ROWS - 1, last)
        await connection.execute(GENERATE, MONTH, begin, end, _DETAIL, timeout=600)
    await connection.execute("ANALYZE", timeout=300)
    await connection.close()
    say(f"  rows {first:,} to {last:,} made in {time.monotonic() - started_s:.0f} s")
