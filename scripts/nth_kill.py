"""Kill the gateway at every point of every request path, and audit what recovery makes of it.

A new process serves one request and kills itself with SIGKILL at the Nth point, for N = 1, 2, ...
until the request is over before the kill comes. `await` counts the suspensions of the task that
serves the client; `turn` counts every callback that the event loop runs, which has the suspensions
of all tasks. `cold`, the request is the process's first; `warm`, another one went before. Provider
and client live here, with the provider's bill and what the client heard.

    .venv/bin/python -m scripts.nth_kill --kinds await,turn
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from gateway.domain.clock import SystemClock
from gateway.ledger.recovery import Recovery
from gateway.postgres.connection import Connection, DedicatedConnection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.migrate import upgrade
from scripts.kill_audit import Findings, audit_books
from scripts.kill_clients import Credential, make_credentials
from tests.fakes.provider import FakeProvider, playing
from tests.fakes.raw_client import RawAnswer
from tests.fakes.roads import ROADS, Road, call, environment, make_team
from tests.fakes.transcripts import ANTHROPIC_STREAM, OPENAI_STREAM

KINDS = ("await", "turn")
# More than any path has.
POINTS_MAX = 2000
_CHECKOUT = Path(__file__).parents[1]
_ANSWER_TIMEOUT_S = 20.0
_QUIET_TIMEOUT_S = 10.0
# A request that leaves no entry is over when its answer is, and this later.
_NO_ENTRY_S = 0.1
_POLL_S = 0.005
_INTERVAL_S = 0.005
_KILLED = -9
_ENTRIES = """
SELECT entry_id::text, amount_usd, usage_source, (detail->>'outcome') AS outcome
FROM ledger.ledger_entry WHERE api_key_id = $1
"""
_LEASES = "SELECT * FROM ledger.budget_lease WHERE state = 'active'"


class Zygote:
    """`async with Zygote() as zygote`: the process that forks gateways, one at a time."""

    async def __aenter__(self) -> Self:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "AWS_"))}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.nth_kill"),
            stdin=PIPE,
            stdout=PIPE,
            cwd=_CHECKOUT,
            env=inherited,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # The end of its input ends it, and a child that still runs.
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def start(self, order: dict[str, Any]) -> str:
        """The new gateway's address."""
        self._say(json.dumps(order))
        return str((await self._hear())["url"])

    async def arm(self) -> None:
        self._say("arm")
        assert (await self._hear())["armed"]

    def stop(self) -> None:
        self._say("stop")

    async def status(self) -> int:
        """How the gateway ended."""
        return int((await self._hear())["status"])

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        heard: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return heard


@dataclass
class Course:
    """One way through the gateway, and how it is killed."""

    road: Road
    kind: str = "await"
    is_warm: bool = False
    points: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    @property
    def name(self) -> str:
        return f"{self.road.name}, {'warm' if self.is_warm else 'cold'}, every {self.kind}"

    def wrong(self, kind: str, detail: object) -> None:
        self.findings.wrong(f"{self.name}, point {self.points + 1}: {kind}", detail)


@dataclass(kw_only=True)
class Killer:
    """Goes one course after another, all in one database."""

    database_url: str
    root: Path
    zygote: Zygote
    provider: FakeProvider
    database: Connection
    connection: DedicatedConnection

    async def kill_everywhere(self, course: Course) -> None:
        """One gateway a point, until one outlives the request."""
        team_id = await self._team(course.road)
        while await self._kill_at(course, team_id):
            course.points += 1
            if course.points >= POINTS_MAX:
                course.wrong("more points than were thought of", course.points)
                return
        if not course.points:
            course.wrong("no point", "nothing was killed")

    async def _team(self, road: Road) -> int:
        name = f"{road.name} {time.monotonic_ns()}"
        return int(await make_team(self.database, replace(road, name=name)))

    async def _kill_at(self, course: Course, team_id: int) -> bool:
        """Returns whether the kill came before the request was over."""
        warming, credential = await make_credentials(self.database, [team_id], 2)
        data_dir = Path(tempfile.mkdtemp(dir=self.root))
        url = await self.zygote.start(
            {
                "kind": course.kind,
                "number": course.points + 1,
                "database_url": self.database_url,
                "environment": environment(self.provider, data_dir),
            }
        )
        if course.is_warm:
            await call(url, course.road, warming)
            await self._over(course.road, warming)
        self._slow_down(course.road)
        before = len(self.provider.requests)
        await self.zygote.arm()
        started_s = time.monotonic()
        answer = await call(url, course.road, credential)
        if time.monotonic() - started_s > _ANSWER_TIMEOUT_S - 1:
            course.wrong("a client hangs", answer)
        status = await self._status(course, credential)
        await self._provider_is_idle()
        self.provider.script.clear()
        received = len(self.provider.requests) - before
        await self._recover(course, data_dir)
        await self._audit(course, credential, answer, received)
        if status not in {0, _KILLED}:
            course.wrong("ended otherwise", status)
        return status == _KILLED

    def _slow_down(self, road: Road) -> None:
        """A stream's events come one by one, so that there are points between them."""
        if b'"stream": true' in road.body:
            is_anthropic = road.target.startswith("/v1/messages")
            transcript = ANTHROPIC_STREAM if is_anthropic else OPENAI_STREAM
            self.provider.will(playing(transcript, interval_s=_INTERVAL_S))

    async def _status(self, course: Course, credential: Credential) -> int:
        """Of the gateway, which is told to stop once the request is over and it still lives."""
        dying = asyncio.ensure_future(self.zygote.status())
        over = asyncio.ensure_future(self._over(course.road, credential))
        await asyncio.wait({dying, over}, return_when=asyncio.FIRST_COMPLETED)
        if not dying.done():
            self.zygote.stop()
        over.cancel()
        return await dying

    async def _over(self, road: Road, credential: Credential) -> None:
        """Nothing more comes of the request; its entry is there, if it has one."""
        await asyncio.sleep(_NO_ENTRY_S)
        if road.amount_usd is None:
            return
        deadline_s = time.monotonic() + _QUIET_TIMEOUT_S
        async with asyncio.timeout(_QUIET_TIMEOUT_S):
            own = await connect(self.database_url, application_name="nth-kill-watch")
            try:
                while time.monotonic() < deadline_s:
                    if await own.fetch(_ENTRIES, credential.api_key_id):
                        return
                    await asyncio.sleep(_POLL_S)
            finally:
                own.terminate()

    async def _provider_is_idle(self) -> None:
        """It has read what the dead gateway had sent."""
        async with asyncio.timeout(_QUIET_TIMEOUT_S):
            while self.provider._handlers:  # noqa: ASYNC110, SLF001
                await asyncio.sleep(_POLL_S)

    async def _recover(self, course: Course, data_dir: Path) -> None:
        journal = data_dir / "journal"
        recovery = Recovery(journal, connection=self.connection, clock=SystemClock())
        report = await recovery.run_once()
        course.counts["replayed"] += report.posted_count
        course.counts["estimated"] += report.estimated_count
        if report.failed_count or report.dead_count or report.torn_tail_count:
            course.wrong("recovery", report)
        if left := sorted(each.name for each in journal.iterdir()):
            course.wrong("files of the dead are left", left)

    async def _audit(
        self, course: Course, credential: Credential, answer: RawAnswer | None, received: int
    ) -> None:
        rows = await self.database.fetch(_ENTRIES, credential.api_key_id)
        judge(course, rows, answer, received)
        for lease in await self.database.fetch(_LEASES):
            course.wrong("a lease of the dead", dict(lease))
        # Collected apart first: what it finds does not know the point.
        books = Findings()
        await audit_books(self.database, books)
        for violation in books.violations:
            course.wrong("books", violation)


def judge(course: Course, rows: Sequence[Any], answer: RawAnswer | None, received: int) -> None:
    """One request by its rows, by what the client heard, and by what the provider got."""
    road = course.road
    is_whole = answer is not None and answer.is_whole and not road.leaves
    if is_whole:
        assert answer is not None
        course.counts["heard whole"] += 1
        if answer.status != road.status or (road.whole and answer.body != road.whole):
            course.wrong("a clean end of a wrong answer", (answer.status, answer.body))
    if received > 1:
        course.wrong("sent twice", received)
    if road.amount_usd is None:
        if rows:
            course.wrong("booked and free", list(map(dict, rows)))
        return
    if len(rows) > 1:
        course.wrong("twice", list(map(dict, rows)))
    if (received or is_whole) and not rows:
        course.wrong("lost", answer)
    for row in rows:
        _judge_row(course, row, answer if is_whole else None, received)


def _judge_row(course: Course, row: Any, whole: RawAnswer | None, received: int) -> None:
    if row["usage_source"] == "exact":
        course.counts["exact"] += 1
        if row["amount_usd"] != course.road.amount_usd or not received:
            course.wrong("exact and wrong", dict(row))
    elif whole is not None:
        course.wrong("heard and not exact", dict(row))
    elif row["amount_usd"] <= 0:
        course.wrong("an estimate of nothing", dict(row))
    if whole is not None and row["entry_id"] != whole.header("x-gateway-request-id"):
        course.wrong("another id", dict(row))
    if not received:
        # The hold is in the journal before the request goes up: it may have gone, for all we know.
        course.counts["held and never sent"] += 1
        if row["outcome"] != "worker_died":
            course.wrong("never sent", dict(row))


async def kill_paths(paths: Sequence[Course], database_url: str, root: Path) -> None:
    """Each of them, in turn, with one zygote and one provider."""
    async with AsyncExitStack() as stack:
        connection = DedicatedConnection(database_url, application_name="nth-kill-recovery")
        stack.push_async_callback(connection.close)
        database = await connect(database_url, application_name="nth-kill")
        stack.push_async_callback(database.close)
        killer = Killer(
            database_url=database_url,
            root=root,
            zygote=await stack.enter_async_context(Zygote()),
            provider=await stack.enter_async_context(FakeProvider()),
            database=database,
            connection=connection,
        )
        for course in paths:
            await killer.kill_everywhere(course)


async def _one(course: Course, server: EmbeddedPostgres, root: Path, number: int) -> None:
    name = f"path_{number}"
    database = await connect(server.url("postgres"), application_name="nth-kill")
    try:
        await database.execute(f"CREATE DATABASE {name} TEMPLATE nth_kill_template")
    finally:
        await database.close()
    await kill_paths([course], server.url(name), root)


async def run(paths: Sequence[Course], server: EmbeddedPostgres, root: Path, jobs: int) -> None:
    """`jobs` paths at a time, each in a database of its own."""
    database = await connect(server.url("postgres"), application_name="nth-kill")
    await database.execute("CREATE DATABASE nth_kill_template")
    await database.close()
    await asyncio.to_thread(upgrade, server.url("nth_kill_template"))
    places = asyncio.Semaphore(jobs)
    console = Console(stderr=True)

    async def go(number: int, course: Course) -> None:
        async with places:
            await _one(course, server, root, number)
        wrong = len(course.findings.violations)
        console.print(
            f"{course.name}: {course.points} kills, {wrong} violations", dict(course.counts)
        )

    async with asyncio.TaskGroup() as group:
        for number, course in enumerate(paths):
            group.create_task(go(number, course))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--roads", default="", help="only those whose name has this")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    paths = [
        Course(road, kind, is_warm)
        for kind in args.kinds.split(",")
        for road in ROADS
        for is_warm in (False, True)
        if args.roads in road.name
    ]
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with EmbeddedPostgres(root / "server", is_durable=False) as server:
            asyncio.run(run(paths, server, root, args.jobs))
    violations = [each for course in paths for each in course.findings.violations]
    for violation in violations[:50]:
        print(violation, file=sys.stderr)
    counts: Counter[str] = sum((course.counts for course in paths), Counter())
    print(
        json.dumps(
            {
                "paths": len(paths),
                "kills": sum(course.points for course in paths),
                "seconds": round(time.monotonic() - started_s),
                **counts,
                "violations": len(violations),
            }
        )
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
