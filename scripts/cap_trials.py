"""Race real workers to a cap, over and over, and compare the largest overspend with the bound.

Every trial makes a team with 99 % of its cap spent. Eight processes, each a desk with its own
journal, poster, leases and listener, then run 500 streams at once that admit, wait and settle until
they are refused. In `strict` the ledger may never end above the cap; in `hard` not above

    cap + the hold of the last request admitted + the overruns (cost above hold) of those that were
    running, or not posted, when it was admitted

Afterwards nothing may be held any more, and a request that fits must be admitted.

    .venv/bin/python -m scripts.cap_trials --trials 1000
"""

import argparse
import asyncio
import multiprocessing
import random
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from gateway.domain.budget import Admission
from gateway.domain.clock import Clock, SystemClock, month_of
from gateway.domain.entry import Amounts, Hold
from gateway.domain.errors import LedgerUnavailableError
from gateway.domain.ids import ApiKeyId, TeamId, new_entry_id, new_uuid
from gateway.domain.money import PICO_PER_USD, usd_from_pico
from gateway.ledger.journal import Journal
from gateway.ledger.lease_client import LeaseClient
from gateway.ledger.poster import Poster
from gateway.postgres import migrate
from gateway.postgres.connection import Connection, DedicatedConnection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.listener import Listener
from gateway.proxy.budget_desk import BudgetDesk
from tests.fakes.settlements import settlement

EXPECTED_PICO_USD = 13 * PICO_PER_USD // 1000
WORST_PICO_USD = 80 * PICO_PER_USD // 1000
# What a post may take after a settlement: such a request still counts as not posted.
POST_LAG_S = 0.5
HELD_NOTHING_WITHIN_S = 3.0


@dataclass
class Worker:
    """The budget side of one gateway process, all of it real."""

    desk: BudgetDesk
    journal: Journal
    poster: Poster
    leases: LeaseClient
    clock: Clock

    async def admit(
        self, team_id: int, expected: int, worst: int, *, is_override: bool = False
    ) -> Admission:
        asked = {
            "expected_pico_usd": expected,
            "worst_pico_usd": worst,
            "is_override": is_override,
        }
        team = TeamId(team_id)
        admission = self.desk.admit(team, **asked)
        return (
            admission if admission is not None else await self.desk.admit_after_sync(team, **asked)
        )

    def hold(self, team_id: int, admission: Admission) -> Hold:
        """Journal the hold of an admitted request, as the road does."""
        hold = Hold(
            entry_id=new_entry_id(self.clock),
            month=admission.view.month,
            team_id=TeamId(team_id),
            api_key_id=ApiKeyId(1),
            product="llm_gateway",
            provider="anthropic",
            dialect="anthropic.messages",
            request_model="claude-opus-4-5",
            amount_pico_usd=admission.hold_pico_usd,
            budget_status=admission.view.status.value,
            admitted_at=self.clock.now(),
            is_leased=admission.is_leased,
        )
        self.journal.append_hold(hold)
        return hold

    def settle(self, hold: Hold, amount: int) -> None:
        self.journal.append_settlement(
            settlement(
                entry_id=hold.entry_id,
                month=hold.month,
                team_id=hold.team_id,
                api_key_id=hold.api_key_id,
                amounts=Amounts(input_pico_usd=amount),
                budget_status=hold.budget_status,
                hold_pico_usd=hold.amount_pico_usd,
                is_leased=hold.is_leased,
                occurred_at=self.clock.now(),
            )
        )
        self.desk.settled(hold, amount)

    def release(self, hold: Hold) -> None:
        self.journal.append_release(hold.entry_id)
        self.desk.released(hold)


@asynccontextmanager
async def worker(
    url: str,
    directory: Path,
    *,
    clock: Clock | None = None,
    fail_mode: Any = "open",
    allowance_usd: str = "5.00",
    lease_url: str | None = None,
    post_url: str | None = None,
    listen_url: str | None = None,
    ttl_s: float = 300.0,
) -> AsyncIterator[Worker]:
    """Everything of a worker that money runs through, built and taken down as in the gateway."""
    clock = clock or SystemClock()
    writer_id = new_uuid(clock)
    lease_connection = DedicatedConnection(lease_url or url, application_name="trial-lease")
    post_connection = DedicatedConnection(post_url or url, application_name="trial-post")
    journal = Journal(directory / str(writer_id), writer_id=writer_id)
    journal.open()
    leases = LeaseClient(lease_connection, writer_id=writer_id, ttl_s=ttl_s)
    desk = BudgetDesk(
        leases=leases,
        clock=clock,
        writer_id=writer_id,
        fail_mode=fail_mode,
        outage_allowance_usd=Decimal(allowance_usd),
    )
    poster = Poster(
        connection=post_connection,
        reader=journal.reader("ledger"),
        writer_id=writer_id,
        on_posted=desk.posted,
    )
    listener = Listener(
        listen_url or url,
        {"budget_cap": desk.on_cap_changed},
        on_connected=desk.on_listener_connected,
    )
    await poster.start()
    await desk.start()
    listener.start()
    for _ in range(200):
        # Its connection has every team read anew; begin after that.
        if listener.is_connected or listen_url is not None:
            break
        await asyncio.sleep(0.005)
    try:
        yield Worker(desk=desk, journal=journal, poster=poster, leases=leases, clock=clock)
    finally:
        await listener.close()
        await poster.drain(0.2 if post_url else 5)
        await desk.close()
        await poster.close()
        await journal.close()
        await lease_connection.close()
        await post_connection.close()


@dataclass(frozen=True, slots=True)
class Ran:
    """One admitted request; times are of the machine's monotonic clock."""

    admitted_s: float
    settled_s: float
    hold: int
    amount: int


@dataclass
class Stats:
    """What one worker saw in one trial."""

    ran: list[Ran] = field(default_factory=list)
    held_back: int = 0
    refused: int = 0
    unavailable: int = 0
    failed_open: int = 0
    questions: int = 0


async def run_streams(
    worker: Worker, team_id: int, *, streams: int, seed: int, pace_s: float
) -> Stats:
    """So many streams at once, each a few requests after another until it is refused for good."""
    stats = Stats()
    before = worker.leases.sync_count
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret.

    async def stream(dice: random.Random) -> None:
        await asyncio.sleep(dice.random() * pace_s / 4)
        for _ in range(6):
            try:
                admission = await worker.admit(team_id, EXPECTED_PICO_USD, WORST_PICO_USD)
            except LedgerUnavailableError:
                stats.unavailable += 1
                await asyncio.sleep(dice.random() * pace_s)
                continue
            if not admission.is_admitted:
                if not admission.is_held_back:
                    stats.refused += 1
                    return
                stats.held_back += 1
                await asyncio.sleep(dice.random() * pace_s)
                continue
            stats.failed_open += admission.failed_open
            hold = worker.hold(team_id, admission)
            admitted_s = time.monotonic()
            await asyncio.sleep(dice.random() * pace_s)
            if dice.random() < 0.05:
                worker.release(hold)
                continue
            # Mean about $0.01, sometimes far above the expected cost, never above the worst case.
            amount = min(int(dice.expovariate(100) * PICO_PER_USD), WORST_PICO_USD)
            worker.settle(hold, amount)
            stats.ran.append(Ran(admitted_s, time.monotonic(), hold.amount_pico_usd, amount))

    own_dice = [random.Random(dice.random()) for _ in range(streams)]  # noqa: S311 - the same.
    await asyncio.gather(*(stream(each) for each in own_dice))
    await worker.poster.drain(10)
    stats.questions = worker.leases.sync_count - before
    return stats


def bound_above_cap(ran: list[Ran]) -> int:
    """The published bound of `hard`, for what happened."""
    if not ran:
        return 0
    last = max(ran, key=lambda one: one.admitted_s)
    overruns = sum(
        max(0, one.amount - one.hold)
        for one in ran
        if one.settled_s + POST_LAG_S >= last.admitted_s
    )
    return max(one.hold for one in ran) + overruns


async def make_team(database: Connection, *, enforcement: str, cap_usd: Decimal) -> int:
    """A team that has spent 99 % of its cap, by an adjustment of finance's own making."""
    team_id = await database.fetchval(
        "INSERT INTO ledger.team (name, monthly_cap_usd, enforcement) VALUES ($1, $2, $3) "
        "RETURNING team_id",
        f"trial {uuid.uuid4()}",
        cap_usd,
        enforcement,
    )
    await spend(database, team_id, cap_usd * Decimal("0.99"))
    return int(team_id)


async def spend(
    database: Connection, team_id: int, amount_usd: Decimal, at: datetime | None = None
) -> None:
    """Book an amount as an adjustment would, rows and total together."""
    month = month_of(at or datetime.now(UTC))
    async with database.transaction():
        await database.execute("SELECT ledger.ensure_month($1)", month)
        await database.execute(
            "INSERT INTO ledger.ledger_entry (entry_id, month, team_id, occurred_at, entry_type, "
            "amount_usd, reason, recorded_by) "
            "VALUES ($1, $2, $3, now(), 'adjustment', $4, 'spent before', 'trial')",
            uuid.uuid4(),
            month,
            team_id,
            amount_usd,
        )
        await database.execute(
            "INSERT INTO ledger.team_month_spend AS t (team_id, month, spend_usd, entry_count) "
            "VALUES ($1, $2, $3, 1) ON CONFLICT (team_id, month) DO UPDATE "
            "SET spend_usd = t.spend_usd + EXCLUDED.spend_usd, entry_count = t.entry_count + 1",
            team_id,
            month,
            amount_usd,
        )


async def spent_usd(database: Connection, team_id: int) -> Decimal:
    return Decimal(
        await database.fetchval(
            "SELECT coalesce(sum(spend_usd), 0) FROM ledger.team_month_spend WHERE team_id = $1",
            team_id,
        )
    )


async def held_usd(database: Connection, team_id: int) -> Decimal:
    return Decimal(
        await database.fetchval(
            "SELECT ledger.held_usd($1, $2)", team_id, month_of(datetime.now(UTC))
        )
    )


async def wait_for_no_holds(database: Connection, team_id: int) -> float | None:
    """How long it took until nothing was held; None where it did not happen."""
    started_s = time.monotonic()
    while await held_usd(database, team_id):
        if time.monotonic() - started_s > HELD_NOTHING_WITHIN_S:
            return None
        await asyncio.sleep(0.02)
    return time.monotonic() - started_s


async def fits_again(own: Worker, database: Connection, team_id: int, cap_usd: Decimal) -> bool:
    """Whether a request that fits into what is left is admitted; True where nothing is left."""
    left = cap_usd - await spent_usd(database, team_id)
    if left <= 0:
        return True
    need = int(left * PICO_PER_USD)
    # In hard any request passes below the cap.
    admission = await own.admit(team_id, WORST_PICO_USD, need)
    if admission.is_admitted:
        own.release(own.hold(team_id, admission))
    return admission.is_admitted


def serve(url: str, directory: str, pipe: Pipe, pace_s: float) -> None:
    """One process: does the trials that the pipe brings, and says how they went."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with worker(url, Path(directory)) as own:
            while (order := await loop.run_in_executor(None, pipe.recv)) is not None:
                kind, team_id, *rest = order
                if kind == "fit":
                    (cap_usd,) = rest
                    database = await connect(url, application_name="trial-fit")
                    pipe.send(await fits_again(own, database, team_id, cap_usd))
                    await database.close()
                    continue
                streams, seed = rest
                pipe.send(
                    await run_streams(own, team_id, streams=streams, seed=seed, pace_s=pace_s)
                )

    asyncio.run(main())


@dataclass
class Worst:
    """The largest overspend of one enforcement, beside the bound of the same trial."""

    over_usd: Decimal = Decimal("-Infinity")
    bound_usd: Decimal = Decimal(0)
    broken: int = 0
    stuck: int = 0
    unfit: int = 0
    admitted: int = 0
    held_back: int = 0
    failed_open: int = 0
    questions: int = 0
    slowest_s: float = 0.0


async def try_once(
    database: Connection, pipes: list[Pipe], args: argparse.Namespace, number: int, worst: Worst
) -> None:
    loop = asyncio.get_running_loop()
    enforcement = ("strict", "hard")[number % 2]
    cap_usd = Decimal(args.cap)
    team_id = await make_team(database, enforcement=enforcement, cap_usd=cap_usd)
    share = args.streams // len(pipes)
    for index, pipe in enumerate(pipes):
        pipe.send(("run", team_id, share, args.seed + number * 1000 + index))
    results: list[Stats] = [await loop.run_in_executor(None, pipe.recv) for pipe in pipes]
    ran = [one for stats in results for one in stats.ran]
    over_usd = await spent_usd(database, team_id) - cap_usd
    bound_usd = usd_from_pico(bound_above_cap(ran)) if enforcement == "hard" else Decimal(0)
    waited_s = await wait_for_no_holds(database, team_id)
    pipes[number % len(pipes)].send(("fit", team_id, cap_usd))
    fits = await loop.run_in_executor(None, pipes[number % len(pipes)].recv)
    worst.admitted += len(ran)
    worst.held_back += sum(stats.held_back for stats in results)
    worst.failed_open += sum(stats.failed_open for stats in results)
    worst.questions += sum(stats.questions for stats in results)
    worst.broken += over_usd > bound_usd
    worst.stuck += waited_s is None
    worst.unfit += not fits
    worst.slowest_s = max(worst.slowest_s, waited_s or 0.0)
    if over_usd > worst.over_usd:
        worst.over_usd, worst.bound_usd = over_usd, bound_usd


async def trials(url: str, pipes: list[Pipe], args: argparse.Namespace) -> bool:
    worsts = {"strict": Worst(), "hard": Worst()}
    database = await connect(url, application_name="trial-judge")
    started_s = time.monotonic()
    for number in range(args.trials):
        await try_once(database, pipes, args, number, worsts[("strict", "hard")[number % 2]])
        if (number + 1) % 50 == 0:
            print(f"{number + 1} trials, {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    await database.close()
    print(
        f"{args.trials} trials, {args.processes} processes, {args.streams} streams, "
        f"cap ${args.cap}, {time.monotonic() - started_s:.0f} s"
    )
    for name, worst in worsts.items():
        if worst.admitted:
            print(
                f"{name}: largest overspend ${max(worst.over_usd, Decimal(0))} "
                f"(bound in that trial ${worst.bound_usd}), bound broken {worst.broken} times, "
                f"holds left {worst.stuck} times, a fitting request refused {worst.unfit} times; "
                f"{worst.admitted} settled, {worst.held_back} held back, "
                f"{worst.failed_open} without the database, "
                f"{worst.questions / worst.admitted:.2f} lease calls a settled request, "
                f"holds back at zero within {worst.slowest_s:.2f} s"
            )
    return not any(worst.broken or worst.stuck or worst.unfit for worst in worsts.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--cap", default="25.00")
    parser.add_argument("--pace", type=float, default=0.2, help="seconds a stream may take")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with EmbeddedPostgres(root / "postgres", is_durable=False) as server:
            url = server.url("postgres")
            migrate.upgrade(url)
            pipes, processes = [], []
            for _ in range(args.processes):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=serve, args=(url, str(root / "journals"), theirs, args.pace)
                )
                process.start()
                pipes.append(ours)
                processes.append(process)
            is_right = asyncio.run(trials(url, pipes, args))
            for pipe in pipes:
                pipe.send(None)
            for process in processes:
                process.join(20)
                is_right = is_right and process.exitcode == 0
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
