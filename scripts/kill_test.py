"""Kill the whole product at random points, and hold its ledger against the provider's own bill.

    python -m scripts.kill_test --kills 1000 --workers 2

Prints one JSON line at the end; exit status 1 where a generation was lost, counted twice, or holds
were left.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop
from rich.console import Console
from rich.progress import Progress

from gateway.postgres.connection import Connection
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.keeper import kept_alive
from gateway.postgres.migrate import upgrade
from scripts.kill_audit import Findings, audit
from scripts.kill_clients import Fleet, make_credentials
from scripts.kill_provider import BillingProvider
from scripts.kill_target import Target

_QUIET_TIMEOUT_S = 60.0
_IDLE_TIMEOUT_S = 10.0
_POLL_S = 0.1
_NO_CAP_AND_A_CAP = (None, 100_000)
# How often what is killed; the parent of several workers is slow to start.
_WEIGHTS = {
    "one worker": {"gateway": 45, "postgres": 50, "both": 5},
    "several": {"worker": 45, "postgres": 45, "gateway": 7, "both": 3},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, and how hard."""

    kills: int
    workers: int = 1
    clients: int = 16
    batch: int = 25
    seed: int = 1
    pause_s: float = 0.4
    is_embedded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How it went."""

    findings: Findings
    kills: Counter[str]
    statuses: Counter[int | str]
    seconds: float
    verified: int
    """Times that `gateway ledger verify` was asked and content."""
    failed_starts: int


class KillLoop:
    """Batches of kills under load; after each one the books are closed and audited."""

    def __init__(self, plan: Plan, provider: BillingProvider, target: Target) -> None:
        self._plan = plan
        self._provider = provider
        self._target = target
        self._dice = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret.
        self._fleet = Fleet(target.url, plan.seed)
        self.kills: Counter[str] = Counter()
        self.findings = Findings()
        self.verified = 0

    @property
    def statuses(self) -> Counter[int | str]:
        return self._fleet.statuses

    async def run(self, progress: Progress) -> None:
        task = progress.add_task("Killing", total=self._plan.kills)
        team_ids = await self._make_teams()
        while (left := self._plan.kills - self.kills.total()) > 0:
            await self._batch(team_ids, min(left, self._plan.batch))
            found = len(self.findings.violations)
            state = f"{self.findings.counts['entries']} entries, {found} violations"
            progress.update(task, completed=self.kills.total(), description=state)
            if not progress.console.is_terminal:
                progress.console.print(f"{self.kills.total()} kills, {state}")

    async def _make_teams(self) -> list[int]:
        database = await self._target.database()
        try:
            return [
                int(
                    await database.fetchval(
                        "INSERT INTO ledger.team (name, monthly_cap_usd) VALUES ($1, $2) "
                        "RETURNING team_id",
                        f"cap {cap}",
                        cap,
                    )
                )
                for cap in _NO_CAP_AND_A_CAP
            ]
        finally:
            await database.close()

    async def _batch(self, team_ids: list[int], kills: int) -> None:
        database = await self._target.database()
        credentials = await make_credentials(database, team_ids, self._plan.clients)
        await database.close()
        self._provider.bill.clear()
        self._fleet.start(credentials)
        for _ in range(kills):
            await self._wait_for_requests(self._dice.randint(1, self._plan.clients))
            await asyncio.sleep(self._dice.expovariate(1 / self._plan.pause_s))
            await self._kill()
        await asyncio.sleep(self._plan.pause_s)
        await self._fleet.stop()
        await self._close_the_books()

    async def _wait_for_requests(self, count: int) -> None:
        """A kill of what does nothing proves nothing; where PostgreSQL is away it may take long."""
        deadline_s = time.monotonic() + _IDLE_TIMEOUT_S
        enough = len(self._provider.bill) + count
        while (  # noqa: ASYNC110
            len(self._provider.bill) < enough and time.monotonic() < deadline_s
        ):
            await asyncio.sleep(_POLL_S / 5)

    async def _kill(self) -> None:
        weights = _WEIGHTS["several" if self._plan.workers > 1 else "one worker"]
        kind = self._dice.choices(list(weights), weights.values())[0]
        if kind == "worker" and not await self._target.kill_worker(self._dice):
            kind = "gateway"
        if kind in {"postgres", "both"}:
            self._target.kill_postgres(self._dice)
        if kind in {"gateway", "both"}:
            await self._target.kill_gateway()
            await self._target.start()
        self.kills[kind] += 1

    async def _close_the_books(self) -> None:
        """Wait until what died is replayed and nothing is held; what stays is a violation."""
        with suppress(TimeoutError):
            await self._target.wait_until_whole()
        database = await self._target.database()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_TIMEOUT_S):
                    while not await _is_quiet(database):  # noqa: ASYNC110
                        await asyncio.sleep(_POLL_S)
            if corrupt := list((self._target.data_dir / "journal").glob("*.corrupt")):
                self.findings.wrong("a damaged journal", corrupt)
            try:
                await self._target.wait_until_whole()
            except TimeoutError:
                self.findings.wrong("journals of the dead are left", self.kills)
            await audit(database, self._fleet.sent, self._provider.bill, self.findings)
        finally:
            await database.close()
        if await self._target.verify():
            self.verified += 1
        else:
            self.findings.wrong("gateway ledger verify", "differs")


async def _is_quiet(database: Connection) -> bool:
    """Nothing is held, and no entry has come for a moment."""
    count = "SELECT count(*) FROM ledger.ledger_entry"
    held = "SELECT count(*) FROM ledger.budget_status WHERE held_usd <> 0"
    before = await database.fetchval(count)
    await asyncio.sleep(0.6)
    return before == await database.fetchval(count) and not await database.fetchval(held)


async def run(plan: Plan, root: Path, progress: Progress) -> Report:
    """All of it, below a directory of its own."""
    started_s = time.monotonic()
    async with AsyncExitStack() as stack:
        server = None if plan.is_embedded else await _external(stack, root / "server")
        provider = await stack.enter_async_context(BillingProvider(plan.seed))
        target = Target(
            root if server is None else root / "server",
            provider_url=provider.url,
            workers=plan.workers,
            server=server,
        )
        await target.start()
        stack.push_async_callback(target.stop)
        loop = KillLoop(plan, provider, target)
        await loop.run(progress)
        return Report(
            findings=loop.findings,
            kills=loop.kills,
            statuses=loop.statuses,
            seconds=time.monotonic() - started_s,
            verified=loop.verified,
            failed_starts=target.failed_starts,
        )


async def _external(stack: AsyncExitStack, directory: Path) -> EmbeddedPostgres:
    """A PostgreSQL that is somebody else's: it outlives the gateway, and is started again."""
    server = EmbeddedPostgres(directory)
    await asyncio.to_thread(server.start)
    stack.callback(server.stop)
    await asyncio.to_thread(upgrade, server.url())
    stack.enter_context(kept_alive(server))
    return server


def summary(plan: Plan, report: Report) -> str:
    """One line for machines."""
    findings = report.findings
    return json.dumps(
        {
            "seed": plan.seed,
            "workers": plan.workers,
            "embedded": plan.is_embedded,
            "seconds": round(report.seconds),
            "kills": report.kills.total(),
            "killed": dict(report.kills),
            **findings.counts,
            "billed_usd": str(findings.billed_usd),
            "booked_usd": str(findings.booked_usd),
            "answers": {str(key): count for key, count in report.statuses.most_common()},
            "failed_starts": report.failed_starts,
            "verified": report.verified,
            "violations": len(findings.violations),
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--batch", type=int, default=25, help="kills between two audits")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    parser.add_argument("--pause", type=float, default=0.4, help="mean seconds between kills")
    parser.add_argument("--embedded", action="store_true", help="the gateway's own PostgreSQL")
    args = parser.parse_args()
    plan = Plan(
        kills=args.kills,
        workers=args.workers,
        clients=args.clients,
        batch=args.batch,
        seed=args.seed if args.seed is not None else int.from_bytes(os.urandom(4)),
        pause_s=args.pause,
        is_embedded=args.embedded,
    )
    # That PostgreSQL died is no news here, and standard output is for the result.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    console = Console(stderr=True)
    console.print(f"seed {plan.seed}")
    with tempfile.TemporaryDirectory() as directory, Progress(console=console) as progress:
        report = uvloop.run(run(plan, Path(directory), progress))
    for violation in report.findings.violations[:50]:
        console.print(violation, markup=False)
    print(summary(plan, report))
    return 1 if report.findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
