"""Kills a gateway at every point of a course, recovers, and has the books audited."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.domain.clock import SystemClock
from gateway.ledger.recovery import Recovery
from gateway.postgres.connection import Connection, DedicatedConnection, connect
from scripts.kill_audit import Findings, audit_books
from scripts.kill_clients import Credential, make_credentials
from scripts.nth_course import Course, judge
from scripts.nth_zygote import Zygote
from tests.fakes.provider import FakeProvider, playing
from tests.fakes.raw_client import RawAnswer
from tests.fakes.roads import Road, call, environment, make_team
from tests.fakes.transcripts import ANTHROPIC_STREAM, OPENAI_STREAM

# More than any path has.
POINTS_MAX = 2000
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
