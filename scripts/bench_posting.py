"""What posting costs: rows a second and CPU a row, the drain of a backlog, the time of a verify.

Client and server share the machine and are counted together. The server is a real PostgreSQL with
fsync on; it and its data are gone at the end.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import psutil
from msgspec.structs import replace

from gateway.domain.clock import SystemClock, month_of
from gateway.domain.entry import Amounts, Entry, Generation, Settlement
from gateway.domain.ids import ApiKeyId, TeamId, new_entry_id
from gateway.domain.usage import Usage, UsageSource
from gateway.ledger.journal import Journal
from gateway.ledger.poster import Poster
from gateway.ledger.posting import post
from gateway.postgres.connection import DedicatedConnection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.migrate import upgrade
from gateway.reports.verify import verify

BATCH_ROWS = 500
CONNECTIONS = 2
CLOCK = SystemClock()
MONTH = month_of(CLOCK.now())
DRAIN_TIMEOUT_S = 1800
GENERATE_ROWS = 500_000
ENTRY = Entry(
    entry_id=new_entry_id(CLOCK),
    month=MONTH,
    team_id=TeamId(1),
    api_key_id=ApiKeyId(1),
    product="llm_gateway",
    provider="anthropic",
    dialect="anthropic.messages",
    request_model="claude-sonnet-4-5",
    response_model="claude-sonnet-4-5-20250929",
    usage=Usage(input_uncached_tokens=812, cache_read_tokens=20_480, output_tokens=377),
    amounts=Amounts(
        input_pico_usd=2_436_000_000,
        cache_read_pico_usd=6_144_000_000,
        output_pico_usd=5_655_000_000,
    ),
    price_version="2026-11-01",
    usage_source=UsageSource.EXACT,
    budget_status="ok",
    http_status=200,
    client_aborted=False,
    provider_response_id="msg_01XFDUDYJgAACzvnptvVoYEL",
    occurred_at=CLOCK.now(),
    hold_pico_usd=20_000_000_000,
    is_leased=True,
    detail={
        "usage": {"input_tokens": 812, "cache_read_input_tokens": 20480, "output_tokens": 377},
        "rates": {"input": "3", "cache_read": "0.3", "output": "15"},
        "stop_reason": "end_turn",
    },
)
GENERATION = Generation(
    team_name="bench", is_streaming=True, base_url="https://api.anthropic.com", latency_s=4.2
)
# Time-ordered ids, a thousand teams, amounts that differ; totals from the rows.
GENERATE = """
WITH number AS (
    SELECT n, md5(n::text) AS hash FROM generate_series($2::bigint, $3::bigint) AS n
), made AS (
    INSERT INTO ledger.ledger_entry (
        entry_id, month, team_id, api_key_id, http_status, occurred_at, input_uncached_tokens,
        cache_read_tokens, output_tokens, is_leased, product, provider, dialect, request_model,
        response_model, price_version, usage_source, budget_status, provider_response_id,
        amount_usd, input_amount_usd, output_amount_usd, hold_usd, detail)
    SELECT (lpad(to_hex(n), 12, '0') || '7' || left(hash, 3) || '8' || substr(hash, 4, 15))::uuid,
           $1::date, n % 1000 + 1, n % 3000 + 1, 200, now() + n * interval '1 ms', 812, 20480, 377,
           true, 'llm_gateway', 'anthropic', 'anthropic.messages', 'claude-sonnet-4-5',
           'claude-sonnet-4-5-20250929', '2026-11-01', 'exact', 'ok', 'msg_01' || left(hash, 20),
           0.002436 + n * 0.000000001, 0.002436, n * 0.000000001, 0.02, $4::jsonb
    FROM number
    RETURNING team_id, month, amount_usd
)
INSERT INTO ledger.team_month_spend AS t (team_id, month, spend_usd, entry_count)
SELECT team_id, month, sum(amount_usd), count(*) FROM made GROUP BY team_id, month
ON CONFLICT (team_id, month) DO UPDATE
    SET spend_usd = t.spend_usd + EXCLUDED.spend_usd,
        entry_count = t.entry_count + EXCLUDED.entry_count
"""


@dataclass
class Cost:
    """Of a block: wall clock, and CPU of this process and of the whole server."""

    seconds: float = 0.0
    client_s: float = 0.0
    server_s: float = 0.0

    def line(self, rows: int) -> str:
        return (
            f"{rows:>10,} rows  {self.seconds:8.2f} s  {rows / self.seconds:9,.0f} rows/s  "
            f"CPU us/row: client {self.client_s / rows * 1e6:5.1f} + "
            f"server {self.server_s / rows * 1e6:5.1f} "
            f"= {(self.client_s + self.server_s) / rows * 1e6:5.1f}"
        )


class Server:
    """A durable PostgreSQL of its own, with the schema."""

    def __init__(self, directory: Path) -> None:
        self._embedded = EmbeddedPostgres(directory)
        self._children = psutil.Process()

    def __enter__(self) -> Self:
        self._embedded.start()
        upgrade(self._embedded.url())
        return self

    def __exit__(self, *_: object) -> None:
        self._embedded.stop()

    @property
    def url(self) -> str:
        return self._embedded.url()

    def cpu_s(self) -> float:
        """Of every process of it, and of those that ended."""
        total = 0.0
        for process in self._children.children(recursive=True):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        return total

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        cost = Cost()
        server_s, client_s, started_s = self.cpu_s(), time.process_time(), time.monotonic()
        yield cost
        cost.seconds = time.monotonic() - started_s
        cost.client_s = time.process_time() - client_s
        cost.server_s = self.cpu_s() - server_s


def entries(count: int, teams: int) -> list[Entry]:
    return [
        replace(ENTRY, entry_id=new_entry_id(CLOCK), team_id=TeamId(n % teams + 1))
        for n in range(count)
    ]


async def bench_posting(server: Server, rows: int, *, teams: int, connections: int) -> None:
    batches = [entries(BATCH_ROWS, teams) for _ in range(rows // BATCH_ROWS)]
    lent = [
        DedicatedConnection(server.url, application_name=f"bench-{n}") for n in range(connections)
    ]
    writer_id = uuid.UUID(int=connections)

    async def run(n: int) -> None:
        for batch in batches[n::connections]:
            await post(lent[n], writer_id, batch, timeout_s=60)

    for connection in lent:
        await post(connection, writer_id, entries(BATCH_ROWS, teams), timeout_s=60)
    with server.measured() as cost:
        await asyncio.gather(*(run(n) for n in range(connections)))
    print(f"post, {teams:>5,} teams, {connections} at once {cost.line(rows)}")
    for connection in lent:
        await connection.close()


async def bench_drain(server: Server, directory: Path, rows: int) -> None:
    journal = Journal(directory / "journal", writer_id=uuid.UUID(int=99))
    journal.open()
    reader = journal.reader("ledger")
    with server.measured() as cost:
        for n in range(rows):
            entry = replace(ENTRY, entry_id=new_entry_id(CLOCK), team_id=TeamId(n % 1000 + 1))
            journal.append_settlement(Settlement(entry=entry, generation=GENERATION))
        await journal.sync()
    print(f"journal, a record each            {cost.line(rows)}")
    connection = DedicatedConnection(server.url, application_name="bench-drain")
    poster = Poster(
        connection=connection,
        reader=reader,
        writer_id=journal.writer_id,
        on_posted=lambda _totals, _entries: None,
    )
    with server.measured() as cost:
        await poster.start()
        assert await poster.drain(DRAIN_TIMEOUT_S)
    assert (poster.posted_count, poster.dead_count) == (rows, 0)
    print(f"drain of a backlog                {cost.line(rows)}")
    await poster.close()
    await connection.close()
    await journal.close()


async def bench_verify(server: Server, rows: int) -> None:
    connection = await connect(server.url, application_name="bench-verify")
    detail = '{"rates":{"input":"3","cache_read":"0.3","output":"15"},"stop_reason":"end_turn"}'
    # A month that is over, so that it can be closed, and the digest be part of it.
    month = date(MONTH.year - 1, 1, 1)
    await connection.execute("SELECT ledger.ensure_month($1)", month)
    with server.measured() as cost:
        for start in range(1, rows + 1, GENERATE_ROWS):
            end = min(start + GENERATE_ROWS - 1, rows)
            await connection.execute(GENERATE, month, start, end, detail, timeout=600)
    print(f"rows generated in the server      {cost.line(rows)}")
    for what in ("open", "closed"):
        if what == "closed":
            with server.measured() as cost:
                await connection.fetch("SELECT ledger.close_month($1)", month, timeout=3600)
            print(f"close of the month                {cost.line(rows)}")
        with server.measured() as cost:
            found = await verify(connection, month=month)
        assert found.is_balanced
        assert found.entries == rows, found.entries
        print(f"verify, month {what:<6}              {cost.line(rows)}")
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000, help="rows to post; 0: none")
    parser.add_argument("--backlog", type=int, default=0, help="journal entries to drain")
    parser.add_argument("--verify", type=int, default=0, help="rows to verify, some 500 bytes each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as temporary:
        directory = Path(temporary)
        with Server(directory / "data") as server:
            for teams in (1, 1000) if arguments.rows else ():
                for connections in (1, CONNECTIONS):
                    asyncio.run(
                        bench_posting(server, arguments.rows, teams=teams, connections=connections)
                    )
            if arguments.backlog:
                asyncio.run(bench_drain(server, directory, arguments.backlog))
            if arguments.verify:
                asyncio.run(bench_verify(server, arguments.verify))


if __name__ == "__main__":
    main()
