"""What a request costs as the database grows: teams, keys, rows of the ledger; and by workers.

Gateways, each with a database of another size on one real PostgreSQL, take turns at the same JSON
load, so that what the machine does besides falls on all of them alike. A gateway has a core to
itself; provider, load, PostgreSQL and this process share the other. The directory, the look-up of
keys and the guard's desk are timed in this process, against the same databases.

    .venv/bin/python -m scripts.bench_scale --rows 1000000
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from typing_extensions import override

from bench.contenders import CREDENTIAL, Running, provider, started
from bench.measure import PATH, Tools
from bench.processes import Cores, cpu_s, on_core, pin, rss_kb, split_database, start, stop, tree
from bench.scenarios import BY_NAME
from bench.tools import built
from gateway.auth.directory import KeyDirectory
from gateway.cli.session import upgrade_with_prices
from gateway.domain.clock import SystemClock, month_of
from gateway.domain.ids import TeamId, new_uuid
from gateway.ledger.lease_client import LeaseClient
from gateway.ledger.posting import post
from gateway.postgres.connection import DedicatedConnection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from scripts.bench_posting import BATCH_ROWS, GENERATE, GENERATE_ROWS, entries
from scripts.cap_trials import Worker, worker

CLOCK = SystemClock()
MONTH = month_of(CLOCK.now())
JSON = BY_NAME["json"]
CONNECTIONS = 32
REQUESTS = 1000
CAPPED_MAX = 10_000
# Answers by port that said to come again: the guard could not ask within its second or two.
REFUSED: Counter[int] = Counter()
# What a gateway puts off is done this long after the last answer.
REST_S = 1.6
DETAIL = '{"rates":{"input":"3","cache_read":"0.3","output":"15"},"stop_reason":"end_turn"}'
INSERT_TEAMS = """
INSERT INTO ledger.team (name, monthly_cap_usd)
SELECT 'team ' || n, CASE WHEN n <= $2 THEN 1000000000 END FROM generate_series(1, $1::int) AS n
"""
# A key's text is its number, so that whoever calls can make it again.
INSERT_KEYS = """
INSERT INTO ledger.api_key (team_id, key_hash, key_prefix)
SELECT (n - 1) % $2::int + 1, sha256(('gw_scale_' || n)::bytea), left('gw_scale_' || n, 11)
FROM generate_series($3::int, $1::int) AS n
"""


def key_of(number: int) -> str:
    return f"gw_scale_{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A database to make: so many of each; rows go into the present month."""

    name: str
    teams: int
    keys: int
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The server and the cores that everything of a run shares."""

    server: EmbeddedPostgres
    cores: Cores
    directory: Path

    def url(self, size: Size) -> str:
        return self.server.url(size.name)

    def database_cpu_s(self) -> float:
        return sum(map(cpu_s, split_database(tree(os.getpid()))[1]))

    def pin_database(self) -> None:
        pin(split_database(tree(os.getpid()))[1], self.cores.others)


def say(text: str) -> None:
    print(text, flush=True)


# --- databases ----------------------------------------------------------------------------------


async def make(site: Site, size: Size) -> None:
    owner = await connect(site.server.url(), application_name="scale-make")
    await owner.execute(f'CREATE DATABASE "{size.name}"')
    await owner.close()
    url = site.url(size)
    await asyncio.to_thread(upgrade_with_prices, url)
    connection = await connect(url, application_name="scale-make")
    started_s = time.monotonic()
    await connection.execute("SELECT ledger.ensure_month($1)", MONTH)
    await connection.execute(INSERT_TEAMS, size.teams, CAPPED_MAX, timeout=300)
    for first in range(1, size.keys + 1, 100_000):
        last = min(first + 99_999, size.keys)
        await connection.execute(INSERT_KEYS, last, size.teams, first, timeout=300)
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
        await connection.execute(GENERATE, MONTH, begin, end, DETAIL, timeout=600)
    await connection.execute("ANALYZE", timeout=300)
    await connection.close()
    say(f"  rows {first:,} to {last:,} made in {time.monotonic() - started_s:.0f} s")


# --- the load, from this process ----------------------------------------------------------------


class Caller(asyncio.Protocol):
    """One connection: a request, its answer, the next request, while there are any."""

    def __init__(self, port: int, requests: Iterator[bytes], latencies_s: list[float]) -> None:
        self._port = port
        self._requests = requests
        self._latencies_s = latencies_s
        self._buffer = b""
        self._sent_s = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the gateway hung up"))

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        is_refused = head.startswith(b"HTTP/1.1 503")
        if at < 0 or not (is_refused or head.startswith(b"HTTP/1.1 200")):
            self.ended.set_exception(RuntimeError(self._buffer[:600].decode(errors="replace")))
            self._transport.close()
        elif len(body) >= int(lower[at + 15 :].split(b"\r\n", 1)[0]):
            self._latencies_s.append(time.monotonic() - self._sent_s)
            REFUSED[self._port] += is_refused
            self._ask()

    def _ask(self) -> None:
        self._buffer = b""
        request = next(self._requests, None)
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._sent_s = time.monotonic()
        self._transport.write(request)


def request_of(key: str) -> bytes:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: gateway-bench\r\nAccept: */*\r\n"
        f"x-api-key: {key}\r\n{CREDENTIAL[1]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(JSON.body)}\r\n\r\n"
    )
    return head.encode() + JSON.body


async def call(port: int, keys: int, count: int, connections: int = CONNECTIONS) -> list[float]:
    """So many requests over the keys 1 to `keys` in turn; the seconds each of them took.

    Raises:
        RuntimeError: an answer was not 200.
    """
    requests = islice(cycle([request_of(key_of(n)) for n in range(1, keys + 1)]), count)
    latencies_s: list[float] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Caller(port, requests, latencies_s), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.ended for _, caller in made))
    return latencies_s


# --- the gateway --------------------------------------------------------------------------------


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
        say(f"  {name}, {workers} workers: ready in {ready_s:.1f} s, {_rss_mb(running):.0f} MB")
        yield running
    finally:
        stop(process)


def _rss_mb(running: Running) -> float:
    return rss_kb(running.pids()[0]) / 1024


def _own_cpu_s(running: Running) -> float:
    return sum(running.clocks().own.values())


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
    for point in points:
        await call(point.to.port, point.keys, max(300, point.keys))
    site.pin_database()
    for number in range(rounds):
        for point in points if number % 2 else tuple(reversed(points)):
            # Each key once more, so that the round finds memory as the round before left it.
            await call(point.to.port, point.keys, max(100, point.keys))
            await asyncio.sleep(REST_S)
            own_s, database_s = _own_cpu_s(point.to), site.database_cpu_s()
            await call(point.to.port, point.keys, REQUESTS)
            await asyncio.sleep(REST_S)
            own_s, database_s = _own_cpu_s(point.to) - own_s, site.database_cpu_s() - database_s
            figures[point.label].append((own_s / REQUESTS * 1e6, database_s / REQUESTS * 1e6))
    base = [own for own, _ in figures[points[0].label]]
    say(f"CPU us a request, median of {rounds} rounds [least-most]; ratio to the first")
    for label, found in figures.items():
        own = [us for us, _ in found]
        ratio = median(us / first for us, first in zip(own, base, strict=True))
        say(
            f"  {label:<34} {median(own):7.0f} [{min(own):.0f}-{max(own):.0f}]  x{ratio:.2f}"
            f"  all databases' {median(us for _, us in found):6.0f}"
        )
    for running in dict.fromkeys(point.to.name for point in points):
        to = next(point.to for point in points if point.to.name == running)
        before_s = _own_cpu_s(to)
        await asyncio.sleep(3)
        say(
            f"  {running}: at rest {(_own_cpu_s(to) - before_s) / 3 * 1e3:.1f} ms CPU a second, "
            f"{_rss_mb(to):.0f} MB, {REFUSED[to.port]} answers of 503 in all"
        )


# --- in this process ----------------------------------------------------------------------------


@asynccontextmanager
async def directory_on(url: str) -> AsyncIterator[KeyDirectory]:
    connection = DedicatedConnection(url, application_name="scale-keys")
    directory = KeyDirectory(connection, clock=CLOCK)
    await directory.start()
    await asyncio.sleep(0.2)
    try:
        yield directory
    finally:
        await directory.close()
        await connection.close()


def _lap_us(function: Callable[[int], object], numbers: Sequence[int]) -> float:
    """Median over five laps of the microseconds a call takes."""
    laps: list[float] = []
    for _ in range(5):
        started_s = time.perf_counter()
        for number in numbers:
            function(number)
        laps.append((time.perf_counter() - started_s) / len(numbers) * 1e6)
    return median(laps)


async def _timed_ms(ask: Callable[[], Coroutine[Any, Any, object]], times: int) -> float:
    taken: list[float] = []
    for _ in range(times):
        started_s = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - started_s) * 1e3)
    return median(taken)


async def bench_directory(url: str, keys: int) -> None:
    """First look-up of a key, then all of them known: look-up, memory, the time to get there."""
    async with directory_on(url) as directory:
        numbers = iter(range(1, 201))
        first_ms = await _timed_ms(
            lambda: directory.authenticate(key_of(next(numbers))), min(200, keys)
        )
        gc.collect()
        rss_before, started_s, cpu_before_s = (
            rss_kb([os.getpid()]),
            time.monotonic(),
            cpu_s(os.getpid()),
        )
        for begin in range(1, keys + 1, 1000):
            texts = map(key_of, range(begin, min(begin + 1000, keys + 1)))
            await asyncio.gather(*map(directory.authenticate, texts))
        filled_s, own_s = time.monotonic() - started_s, cpu_s(os.getpid()) - cpu_before_s
        gc.collect()
        rss_mb = (rss_kb([os.getpid()]) - rss_before) / 1024
        step = max(1, keys // 20_000)
        spread = range(1, keys + 1, step)
        names = {number: key_of(number) for number in spread}
        assert all(directory.find(names[number]) for number in spread)
        find_us = _lap_us(lambda number: directory.find(names[number]), spread)
        names = {1: key_of(1)}
        one_us = _lap_us(lambda number: directory.find(names[number]), [1] * 20_000)
        say(
            f"  {keys:>9,} keys: first look-up {first_ms:.2f} ms; all known after {filled_s:.1f} s "
            f"({own_s / keys * 1e6:.0f} us CPU a key), +{rss_mb:.0f} MB; look-up {find_us:.2f} us "
            f"over all, {one_us:.2f} us of one"
        )
        started_s = time.perf_counter()
        directory.on_listener_connected()
        stall_ms = (time.perf_counter() - started_s) * 1e3
        started_s = time.perf_counter()
        directory.on_key_changed("1")
        say(
            f"            a reconnect blocks {stall_ms:.1f} ms, "
            f"a revocation {(time.perf_counter() - started_s) * 1e3:.3f} ms"
        )


async def _admitted(own: Worker, team: int) -> None:
    admission = await own.admit(team, 10**10, 2 * 10**10)
    own.release(own.hold(team, admission))


async def bench_desk(site: Site, url: str, teams: int, used: int) -> None:
    """Admit and release from memory, with leases of so many teams; then what rest costs."""
    async with worker(url, site.directory / f"desk-{teams}-{used}") as own:
        started_s = time.monotonic()
        for begin in range(1, used + 1, 200):
            await asyncio.gather(
                *(_admitted(own, team) for team in range(begin, min(begin + 200, used + 1)))
            )
        first_s = time.monotonic() - started_s

        def once(team: int) -> None:
            admission = own.desk.admit(
                TeamId(team), expected_pico_usd=10**10, worst_pico_usd=2 * 10**10, is_override=False
            )
            if admission is None:
                asked.append(team)
            else:
                own.desk.released(own.hold(team, admission))

        asked: list[int] = []
        count = 2_000
        # The last to come have their leases still; those idle for a second gave theirs back.
        late = range(max(1, used - 199), used + 1)
        admit_us = _lap_us(once, list(islice(cycle(late), count)))
        await asyncio.sleep(12 if used > 1000 else 3)
        before_s = cpu_s(os.getpid())
        longest_s, ends_s = 0.0, time.monotonic() + 3
        while (began_s := time.monotonic()) < ends_s:
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.monotonic() - began_s - 0.001)
        say(
            f"  {teams:>7,} teams, {used:>7,} used: first admissions {first_s:.1f} s, "
            f"then admit + hold + release {admit_us:.1f} us ({len(asked)} of {count * 5} ask); "
            f"at rest {(cpu_s(os.getpid()) - before_s) / 3 * 1e3:.0f} ms CPU a second, "
            f"longest block {longest_s * 1e3:.1f} ms"
        )


async def bench_readings(url: str, teams: int) -> None:
    """The guard's questions to the database: readings of some and of all teams."""
    connection = DedicatedConnection(url, application_name="scale-read")
    leases = LeaseClient(connection, writer_id=new_uuid(CLOCK), timeout_s=60)
    some = [TeamId(n) for n in range(1, min(teams, 200) + 1)]
    one_ms = await _timed_ms(lambda: leases.read(some[:1], MONTH), 50)
    some_ms = await _timed_ms(lambda: leases.read(some, MONTH), 20)
    all_ms = await _timed_ms(lambda: leases.read(None, MONTH), 3)
    await connection.close()
    say(
        f"  guard's reading: one team {one_ms:.2f} ms, {len(some)} teams {some_ms:.1f} ms, "
        f"all {teams:,} at start {all_ms:.0f} ms"
    )


# --- the ledger ---------------------------------------------------------------------------------


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


async def _bench_posts(site: Site, size: Size) -> None:
    connection = DedicatedConnection(site.url(size), application_name="scale-post")
    writer_id = new_uuid(CLOCK)
    await post(connection, writer_id, entries(BATCH_ROWS, size.teams), timeout_s=60)
    batches = [entries(BATCH_ROWS, size.teams) for _ in range(40)]
    rates: list[float] = []
    before_s = site.database_cpu_s() + cpu_s(os.getpid())
    for batch in batches:
        started_s = time.monotonic()
        await post(connection, writer_id, batch, timeout_s=60)
        rates.append(BATCH_ROWS / (time.monotonic() - started_s))
    spent_s = site.database_cpu_s() + cpu_s(os.getpid()) - before_s
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


# --- workers ------------------------------------------------------------------------------------


def bench_workers(site: Site, size: Size, upstream_port: int, rounds: int) -> None:
    """One worker and two, on both cores, beside everything else that runs there."""
    tools = Tools(load=built("load"), cores=site.cores, directory=site.directory)
    both = set(os.sched_getaffinity(0))
    with ExitStack() as stack:
        points: dict[int, Running] = {}
        for workers in (1, 2):
            running = stack.enter_context(
                gateway(site, site.url(size), upstream_port, name=size.name, workers=workers)
            )
            for pid in running.pids()[0]:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), both)
            points[workers] = running
        figures: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers, running in points.items():
                to = Running(
                    name="workers",
                    port=running.port,
                    headers=(f"x-api-key: {key_of(1)}", CREDENTIAL[1]),
                    process=running.process,
                )
                tools.finish(tools.begin(tools.command(JSON, to, "-c", "32", "-n", "300")))
                time.sleep(REST_S)
                before_s = _own_cpu_s(running)
                row = tools.finish(tools.begin(tools.command(JSON, to, "-c", "32", "-n", "3000")))
                time.sleep(REST_S)
                assert (row["requests"], row["not_200"]) == (3000, 0), row
                figures[workers].append(
                    (
                        3000 / float(str(row["elapsed_s"])),
                        (_own_cpu_s(running) - before_s) / 3000 * 1e6,
                    )
                )
        for workers, found in figures.items():
            say(
                f"  {workers} workers: {median(rate for rate, _ in found):,.0f} requests/s, "
                f"{median(us for _, us in found):.0f} us CPU a request, "
                f"{_rss_mb(points[workers]):.0f} MB"
            )


# --- the command --------------------------------------------------------------------------------


def run(site: Site, parts: set[str], rows: int, rounds: int) -> None:
    sizes = [
        Size(name="team_1", teams=1, keys=1),
        Size(name="teams_1000", teams=1000, keys=1000),
        Size(name="teams_100000", teams=100_000, keys=100_000),
        Size(name="keys_1000000", teams=1000, keys=1_000_000),
        Size(name="ledger", teams=1000, keys=1000, rows=rows),
    ]
    one, thousand, many_teams, many_keys, ledger = sizes
    for size in sizes:
        asyncio.run(make(site, size))
    site.pin_database()
    if "desk" in parts:
        say("guard's desk, in one process")
        for size, used in (
            (one, 1),
            (thousand, 1000),
            (many_teams, 1000),
            (many_teams, CAPPED_MAX),
            (many_teams, 100_000),
        ):
            asyncio.run(bench_desk(site, site.url(size), size.teams, used))
        for size in (one, thousand, many_teams):
            asyncio.run(bench_readings(site.url(size), size.teams))
    if "ledger" in parts:
        asyncio.run(bench_ledger(site, ledger))
    elif "gateway" in parts and ledger.rows:
        asyncio.run(add_rows(site.url(ledger), 1, ledger.rows))
    with provider(built("provider"), site.cores) as upstream_port:
        if "gateway" in parts:
            with ExitStack() as stack:
                opened = [
                    stack.enter_context(
                        gateway(site, site.url(size), upstream_port, name=size.name)
                    )
                    for size in sizes
                ]
                points = [
                    Point(to=to, keys=used)
                    for to in opened
                    for used in ((1,) if to.name == "team_1" else (1, 1000))
                ]
                asyncio.run(bench_gateways(site, points, rounds))
        if "workers" in parts:
            say("workers, both cores shared with everything")
            bench_workers(site, thousand, upstream_port, rounds)
    if "keys" in parts:
        say("directory of keys, in one process")
        for size in (one, thousand, many_teams, many_keys):
            asyncio.run(bench_directory(site.url(size), size.keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default="desk,ledger,gateway,workers,keys")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the largest ledger")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cores = Cores.chosen()
    with tempfile.TemporaryDirectory(prefix="gateway-scale-") as temporary:
        directory = Path(temporary)
        with on_core(cores.others), EmbeddedPostgres(directory / "data") as server:
            site = Site(server=server, cores=cores, directory=directory)
            run(site, set(args.parts.split(",")), args.rows, args.rounds)


if __name__ == "__main__":
    main()
