"""The desk with real leases: what is admitted, held, given back, and when a change binds."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from gateway.domain.budget import BudgetStatus
from gateway.domain.clock import SystemClock, month_of
from gateway.domain.ids import TeamId
from gateway.domain.lease import LeaseAsk
from gateway.ledger.lease_client import LeaseClient
from gateway.postgres.connection import DedicatedConnection
from gateway.proxy.budget_accounts import BudgetAccounts
from gateway.proxy.budget_sync import TICK_S, TICKS_A_READING
from scripts.budget_worker import worker
from scripts.team_money import held_usd, spend, spent_usd

CENT = 10**10
USD = 10**12


class ShiftedClock(SystemClock):
    """The machine's clock, some time away."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift


@pytest.fixture
async def desk(database_url, tmp_path):
    async with worker(database_url, tmp_path) as own:
        yield own


async def until(condition, within_s=1.0):
    """How long it took until the condition held."""
    started_s = time.monotonic()
    while not await condition():
        assert time.monotonic() - started_s < within_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - started_s


async def leases(database):
    return await database.fetchval("SELECT count(*) FROM ledger.budget_lease")


async def test_far_from_the_cap_requests_cost_no_question(desk, make_team):
    team = await make_team(cap_usd=25)
    for _ in range(300):
        admission = await desk.admit(team, CENT, 8 * CENT)
        assert admission.is_admitted
        assert admission.is_leased
        assert admission.hold_pico_usd == CENT
        desk.settle(desk.hold(team, admission), CENT)
        await asyncio.sleep(0)
    assert desk.leases.sync_count <= 12


async def test_the_requests_behind_the_first_one_do_not_wait_for_the_database(desk, make_team):
    team = await make_team(cap_usd=25)
    waited = []
    for number in range(4):
        asked = {"expected_pico_usd": CENT, "worst_pico_usd": 8 * CENT, "is_override": False}
        admission = desk.desk.admit(TeamId(team), **asked)
        if admission is None:
            waited.append(number)
            admission = await desk.desk.admit_after_sync(TeamId(team), **asked)
        desk.settle(desk.hold(team, admission), CENT)
    assert waited == [0]


async def test_a_team_without_a_cap_never_takes_a_lease(desk, database, make_team):
    for number, cap in enumerate((None, 0, -5)):
        team = await make_team(f"team {number}", cap_usd=cap)
        await desk.admit(team, CENT, CENT)
        readings, started_s = desk.leases.reading_count, time.monotonic()
        for _ in range(100):
            admission = await desk.admit(team, CENT, CENT)
            assert admission.is_admitted
            assert not admission.is_leased
            assert admission.view.status is BudgetStatus.DISABLED
            desk.settle(desk.hold(team, admission), CENT)
            await asyncio.sleep(0)
        # The team's own notification may come late, and it is read again by the clock.
        by_clock = (time.monotonic() - started_s) / (TICK_S * TICKS_A_READING)
        assert desk.leases.reading_count - readings <= 2 + by_clock
    assert desk.leases.sync_count == 0
    assert await leases(database) == 0


async def test_an_idle_worker_gives_its_lease_back_within_a_second(desk, database, make_team):
    team = await make_team(cap_usd=25)
    hold = desk.hold(team, await desk.admit(team, CENT, CENT))
    assert await held_usd(database, team) > 0
    desk.settle(hold, CENT // 2)
    await until(lambda: nothing_held(database, team))
    assert await spent_usd(database, team) == Decimal("0.005")


async def nothing_held(database, team):
    return await held_usd(database, team) == 0


async def test_a_running_request_keeps_its_hold_and_nothing_else(desk, database, make_team):
    team = await make_team(cap_usd=25)
    hold = desk.hold(team, await desk.admit(team, CENT, CENT))

    async def only_the_hold():
        return await held_usd(database, team) == Decimal("0.01")

    await until(only_the_hold)
    assert desk.desk.open_holds().count == 1
    assert desk.desk.open_holds().amount_pico_usd == CENT
    desk.release(hold)
    await until(lambda: nothing_held(database, team))
    assert desk.desk.open_holds().count == 0


@pytest.mark.parametrize(
    ("spent", "status", "saves"),
    [("10", "ok", False), ("21.25", "warn", False), ("23.75", "engage", True)],
)
async def test_the_status_follows_posted_spend(desk, database, make_team, spent, status, saves):
    team = await make_team(cap_usd=25)
    await spend(database, team, Decimal(spent))
    admission = await desk.admit(team, CENT, CENT)
    assert admission.view.status == status
    assert admission.wants_save_mode is saves
    assert admission.view.spend_usd == Decimal(spent)


async def test_a_spent_budget_refuses_without_asking_again(desk, database, make_team):
    team = await make_team(cap_usd=25)
    await spend(database, team, Decimal("25.03"))
    for _ in range(50):
        admission = await desk.admit(team, CENT, CENT)
        assert not admission.is_admitted
        assert not admission.is_held_back
        assert admission.view.status is BudgetStatus.BLOCKED
    assert desk.leases.sync_count == 0
    assert await nothing_held(database, team)


async def test_in_hard_the_last_request_may_cross_and_the_next_is_held_back(
    desk, database, make_team
):
    team = await make_team(cap_usd=1)
    await spend(database, team, Decimal("0.99"))
    first = await desk.admit(team, 5 * CENT, 8 * CENT)
    assert first.is_admitted
    second = await desk.admit(team, 5 * CENT, 8 * CENT)
    assert (second.is_admitted, second.is_held_back) == (False, True)
    assert second.view.status is BudgetStatus.ENGAGE
    desk.release(desk.hold(team, first))
    await asyncio.sleep(0.03)
    assert (await desk.admit(team, 5 * CENT, 8 * CENT)).is_admitted


async def test_strict_admits_only_what_fits_in_its_worst_case(desk, database, make_team):
    team = await make_team(cap_usd=1, enforcement="strict")
    await spend(database, team, Decimal("0.80"))
    fits = await desk.admit(team, CENT, 15 * CENT)
    assert fits.is_admitted
    assert fits.hold_pico_usd == 15 * CENT
    held_back = await desk.admit(team, CENT, 6 * CENT)
    assert (held_back.is_admitted, held_back.is_held_back) == (False, True)
    never = await desk.admit(team, CENT, 21 * CENT)
    assert (never.is_admitted, never.is_held_back) == (False, False)
    assert (await desk.admit(team, CENT, 5 * CENT)).is_admitted


async def test_shadow_admits_over_the_cap_and_records_it(desk, database, make_team):
    team = await make_team(cap_usd=1, enforcement="shadow")
    await spend(database, team, Decimal("1.50"))
    admission = await desk.admit(team, CENT, CENT)
    assert admission.is_admitted
    assert admission.would_refuse
    assert admission.view.status is BudgetStatus.BLOCKED
    assert desk.leases.sync_count == 0


async def test_an_override_passes_and_its_hold_is_known_to_the_ledger(desk, database, make_team):
    team = await make_team(cap_usd=1)
    await spend(database, team, Decimal("1.50"))
    admission = await desk.admit(team, 3 * CENT, CENT, is_override=True)
    assert admission.is_admitted
    assert admission.would_refuse
    assert admission.view.status is BudgetStatus.OVERRIDE

    async def is_known():
        return await held_usd(database, team) == Decimal("0.03")

    await until(is_known)
    desk.settle(desk.hold(team, admission), CENT)
    await until(lambda: nothing_held(database, team))


async def test_a_cap_changed_by_sql_binds_within_a_second_on_every_worker(
    database_url, tmp_path, database, make_team
):
    team = await make_team(cap_usd=25)
    await spend(database, team, Decimal(10))
    async with worker(database_url, tmp_path) as one, worker(database_url, tmp_path) as other:
        for each in (one, other):
            assert (await each.admit(team, CENT, CENT)).is_admitted

        async def are(admitted):
            answers = [await each.admit(team, CENT, CENT) for each in (one, other)]
            return [answer.is_admitted for answer in answers] == [admitted, admitted]

        for cap, admitted in ((5, False), (50, True), (10, False), (None, True)):
            await database.execute("UPDATE ledger.team SET monthly_cap_usd = $1", cap)
            await until(lambda admitted=admitted: are(admitted))
        await database.execute("UPDATE ledger.team SET monthly_cap_usd = 5, enforcement = 'shadow'")
        await asyncio.sleep(0.3)
        assert await are(True)
        await database.execute("UPDATE ledger.team SET enforcement = 'hard'")
        await until(lambda: are(False))


async def test_a_lost_notification_is_healed_within_a_second(
    database_url, tmp_path, database, make_team
):
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    capped = await make_team("capped", cap_usd=25)
    free = await make_team("free")
    async with worker(database_url, tmp_path, listen_url=nowhere) as deaf:
        for team in (capped, free):
            await spend(database, team, Decimal(10))
            assert (await deaf.admit(team, CENT, CENT)).is_admitted
        await database.execute("UPDATE ledger.team SET monthly_cap_usd = 5")

        async def are_refused():
            answers = [await deaf.admit(team, CENT, CENT) for team in (capped, free)]
            return not any(answer.is_admitted for answer in answers)

        await until(are_refused, within_s=1.1)


async def test_a_dated_exception_begins_and_ends_by_itself(desk, database, make_team):
    team = await make_team(cap_usd=5)
    await spend(database, team, Decimal(10))
    now = datetime.now(UTC)
    begins, ends = now + timedelta(seconds=0.4), now + timedelta(seconds=1.2)
    await database.execute(
        "INSERT INTO ledger.cap_override (team_id, valid, cap_usd, reason) "
        "VALUES ($1, tstzrange($2, $3), 50, 'launch')",
        team,
        begins,
        ends,
    )

    async def is_admitted():
        admission = await desk.admit(team, CENT, CENT)
        if admission.is_admitted:
            desk.release(desk.hold(team, admission))
        return admission.is_admitted

    async def is_refused():
        return not await is_admitted()

    assert await is_refused()
    await until(is_admitted, within_s=1.4)
    assert datetime.now(UTC) >= begins
    await until(is_refused, within_s=2.0)
    assert datetime.now(UTC) >= ends


async def test_a_new_month_begins_fresh_and_old_holds_settle_in_theirs(
    database_url, tmp_path, database, make_team
):
    clock = ShiftedClock()
    team = await make_team(cap_usd=1)
    this_month = month_of(clock.now())
    async with worker(database_url, tmp_path, clock=clock) as own:
        hold = own.hold(team, await own.admit(team, CENT, CENT))
        await spend(database, team, Decimal(1))
        await asyncio.sleep(0.9)
        assert not (await own.admit(team, CENT, CENT)).is_admitted
        clock.shift = timedelta(days=31)
        admission = await own.admit(team, CENT, CENT)
        assert admission.is_admitted
        assert admission.view.status is BudgetStatus.OK
        assert admission.view.month > this_month
        own.settle(hold, 2 * CENT)
        own.settle(own.hold(team, admission), 3 * CENT)
        await own.poster.drain(5)
        rows = await database.fetch("SELECT spend_usd FROM ledger.team_month_spend ORDER BY month")
        assert [row["spend_usd"] for row in rows] == [Decimal("1.02"), Decimal("0.03")]

        async def is_all_given_back():
            return not await database.fetchval(
                "SELECT sum(granted_usd - consumed_usd - returned_usd) FROM ledger.budget_lease"
            )

        await until(is_all_given_back)


async def test_an_overrun_is_known_to_other_workers_at_once(
    database_url, tmp_path, database, make_team
):
    team = await make_team(cap_usd=1)
    await spend(database, team, Decimal("0.90"))
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    async with (
        worker(database_url, tmp_path) as other,
        worker(database_url, tmp_path, post_url=nowhere) as one,
    ):
        hold = one.hold(team, await one.admit(team, CENT, CENT))
        one.settle(hold, 20 * CENT)
        await asyncio.sleep(0.05)
        assert await held_usd(database, team) == Decimal("0.20")
        admission = await other.admit(team, CENT, CENT)
        assert (admission.is_admitted, admission.is_held_back) == (False, True)


async def test_a_crowd_of_waiting_requests_shares_a_few_questions(desk, database, make_team):
    team = await make_team(cap_usd=1)
    await spend(database, team, Decimal("0.96"))
    answers = await asyncio.gather(*(desk.admit(team, CENT, CENT) for _ in range(200)))
    assert sum(answer.is_admitted for answer in answers) == 4
    assert all(answer.is_held_back for answer in answers if not answer.is_admitted)
    assert desk.leases.sync_count <= 4


async def test_a_client_that_leaves_while_it_waits_leaves_no_hold(desk, database, make_team):
    team = await make_team(cap_usd=25)
    for yields in range(20):
        waiting = asyncio.ensure_future(desk.admit(team, USD, USD))
        for _ in range(yields):
            await asyncio.sleep(0.0003)
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled():
            desk.release(desk.hold(team, waiting.result()))
    await until(lambda: nothing_held(database, team), within_s=1.5)
    assert desk.desk.open_holds().count == 0


async def test_the_lease_of_a_dead_worker_ends_with_its_time(database_url, database, make_team):
    team = await make_team(cap_usd=1)
    connection = DedicatedConnection(database_url, application_name="dead")
    dead = LeaseClient(connection, writer_id=uuid4(), ttl_s=0.3)
    alive = LeaseClient(connection, writer_id=uuid4())
    ask = LeaseAsk(
        team_id=TeamId(team),
        month=month_of(datetime.now(UTC)),
        committed_pico_usd=0,
        consumed_pico_usd=0,
        returned_pico_usd=0,
        want_pico_usd=USD,
        min_pico_usd=USD,
        is_exact=True,
    )
    assert (await dead.sync(ask)).granted_pico_usd == USD
    assert (await alive.sync(ask)).granted_pico_usd == 0
    await asyncio.sleep(0.35)
    assert (await alive.sync(ask)).granted_pico_usd == USD
    await alive.expire()
    states = await database.fetch("SELECT state FROM ledger.budget_lease ORDER BY expires_at")
    assert [row["state"] for row in states] == ["expired", "active"]
    await connection.close()


async def test_a_lease_is_renewed_while_its_request_runs(
    database_url, tmp_path, database, make_team
):
    team = await make_team(cap_usd=1)
    async with worker(database_url, tmp_path, ttl_s=5.5) as own:
        hold = own.hold(team, await own.admit(team, CENT, CENT))

        async def expires_at():
            return await database.fetchval("SELECT expires_at FROM ledger.budget_lease")

        before = await expires_at()
        await asyncio.sleep(0.7)
        assert await expires_at() > before + timedelta(seconds=0.3)
        own.release(hold)


@asynccontextmanager
async def closing(url, path):
    async with worker(url, path) as own:
        yield own


async def test_a_clean_end_closes_the_leases(database_url, tmp_path, database, make_team):
    team = await make_team(cap_usd=25)
    async with closing(database_url, tmp_path) as own:
        own.settle(own.hold(team, await own.admit(team, CENT, CENT)), CENT)
    assert await database.fetchval("SELECT state FROM ledger.budget_lease") == "closed"
    assert await nothing_held(database, team)


async def test_an_end_with_a_request_open_keeps_its_hold_for_the_replay(
    database_url, tmp_path, database, make_team
):
    team = await make_team(cap_usd=25)
    async with closing(database_url, tmp_path) as own:
        own.hold(team, await own.admit(team, CENT, CENT))
    assert await held_usd(database, team) == Decimal("0.01")


async def test_a_view_is_read_when_memory_is_older_than_a_second(desk, database, make_team):
    team = TeamId(await make_team(cap_usd=25))
    assert desk.desk.view(team) is None
    assert (await desk.desk.load(team)).spend_usd == 0
    await spend(database, team, Decimal(3))
    assert desk.desk.view(team).spend_usd == 0
    await asyncio.sleep(1.05)
    assert (await desk.desk.load(team)).spend_usd == 3


def test_the_longest_unused_accounts_are_forgotten_and_open_ones_are_not():
    accounts = BudgetAccounts(accounts_max=10)
    now = datetime.now(UTC)
    accounts.open(TeamId(0), now).lease.hold(1)
    for number in range(1, 100):
        accounts.open(TeamId(number), now)
    assert len(accounts) == 10
    month = month_of(now)
    assert accounts.find(TeamId(0), month) is not None
    assert accounts.find(TeamId(50), month) is None
    assert accounts.find(TeamId(99), month) is not None
