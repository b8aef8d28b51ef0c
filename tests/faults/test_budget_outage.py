"""The database refuses, hangs, breaks: requests go on within the published bound, none without it."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal

import pytest

from gateway.domain.budget import BudgetStatus
from gateway.domain.errors import LedgerUnavailableError
from gateway.domain.ids import TeamId
from scripts.budget_worker import worker
from scripts.cap_streams import fits_again, run_streams
from scripts.team_money import held_usd, spend, spent_usd, wait_for_no_holds
from scripts.team_money import make_team as make_spent_team
from tests.fakes.flaky_tcp import FlakyTcp

pytestmark = pytest.mark.alone

CENT = 10**10
USD = 10**12


@asynccontextmanager
async def behind_a_proxy(url, path, **settings):
    """A worker all of whose connections go through one proxy."""
    async with FlakyTcp.before_postgres(url) as proxy:
        through = proxy.postgres_url(url)
        async with worker(through, path, **settings) as own:
            yield own, proxy


@pytest.fixture
async def flaky(database_url, tmp_path):
    async with behind_a_proxy(database_url, tmp_path, allowance_usd="0.50") as pair:
        yield pair


async def admitted_until_refused(own, team, hold=10 * CENT):
    """Admit and settle until the guard says no."""
    amount, admission = 0, await own.admit(team, hold, hold)
    while admission.is_admitted:
        own.settle(own.hold(team, admission), hold)
        amount += hold
        assert amount <= 100 * USD
        admission = await own.admit(team, hold, hold)
    return amount, admission


async def test_a_known_team_goes_on_to_its_cap_and_the_allowance(flaky, database, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1)
    await spend(database, team, Decimal("0.40"))
    own.release(own.hold(team, await own.admit(team, CENT, CENT)))
    proxy.refuse()
    await asyncio.sleep(0.3)
    amount, refused = await admitted_until_refused(own, team)
    assert amount == 110 * CENT
    assert not refused.is_admitted
    assert refused.view.spend_usd == Decimal("0.40")
    await proxy.restore()


async def test_what_is_admitted_without_the_ledger_says_so(flaky, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1)
    own.release(own.hold(team, await own.admit(team, CENT, CENT)))
    proxy.refuse()
    admission = await own.admit(team, 90 * CENT, 90 * CENT)
    assert admission.is_admitted
    assert admission.failed_open
    assert not admission.would_refuse
    own.settle(own.hold(team, admission), USD)
    beyond = await own.admit(team, CENT, CENT)
    assert (beyond.failed_open, beyond.would_refuse) == (True, True)
    own.release(own.hold(team, beyond))
    await proxy.restore()


async def test_a_team_over_its_cap_stays_blocked(flaky, database, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1)
    await spend(database, team, Decimal("1.01"))
    assert not (await own.admit(team, CENT, CENT)).is_admitted
    proxy.refuse()
    await asyncio.sleep(2.2)
    admission = await own.admit(team, CENT, CENT)
    assert not admission.is_admitted
    assert admission.view.status is BudgetStatus.BLOCKED
    await proxy.restore()


async def test_a_team_that_was_never_read_gets_the_allowance_alone(flaky, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1000)
    proxy.refuse()
    first = await own.admit(team, 20 * CENT, 20 * CENT)
    assert first.view.status is BudgetStatus.UNKNOWN
    assert first.failed_open
    own.settle(own.hold(team, first), 20 * CENT)
    own.settle(own.hold(team, await own.admit(team, 30 * CENT, CENT)), 30 * CENT)
    with pytest.raises(LedgerUnavailableError):
        await own.admit(team, 1, 1)
    await proxy.restore()


async def test_a_team_that_was_there_at_the_start_is_known_in_an_outage(
    database_url, tmp_path, database, make_team
):
    over, strict = (
        await make_team("over", cap_usd=1),
        await make_team("s", enforcement="strict", cap_usd=1),
    )
    await spend(database, over, Decimal(1))
    async with behind_a_proxy(database_url, tmp_path) as (own, proxy):
        await asyncio.sleep(0.2)
        proxy.refuse()
        blocked = await own.admit(over, CENT, CENT)
        assert (blocked.is_admitted, blocked.view.status) == (False, BudgetStatus.BLOCKED)
        with pytest.raises(LedgerUnavailableError):
            await own.admit(strict, CENT, CENT)
        await proxy.restore()


async def test_failing_closed_admits_only_what_a_lease_covers(database_url, tmp_path, make_team):
    team = await make_team(cap_usd=1)
    async with behind_a_proxy(database_url, tmp_path, fail_mode="closed") as (own, proxy):
        own.release(own.hold(team, await own.admit(team, CENT, CENT)))
        proxy.refuse()
        with pytest.raises(LedgerUnavailableError):
            await own.admit(team, 50 * CENT, CENT)
        await proxy.restore()


async def test_strict_does_not_use_the_allowance(flaky, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1, enforcement="strict")
    own.release(own.hold(team, await own.admit(team, CENT, CENT)))
    proxy.refuse()
    with pytest.raises(LedgerUnavailableError):
        await own.admit(team, CENT, 50 * CENT)
    await proxy.restore()


async def test_a_hung_database_is_waited_for_once_and_briefly(flaky, make_team):
    own, proxy = flaky
    team, other = await make_team("one", cap_usd=1), await make_team("other", cap_usd=1)
    for each in (team, other):
        own.release(own.hold(each, await own.admit(each, CENT, CENT)))
    await asyncio.sleep(1.0)
    proxy.freeze()
    started_s = time.monotonic()
    answers = await asyncio.gather(*(own.admit(team, 5 * CENT, 1) for _ in range(5)))
    assert time.monotonic() - started_s < 2.1
    for answer in answers:
        assert answer.failed_open
        own.release(own.hold(team, answer))
    for _ in range(20):
        started_s = time.monotonic()
        own.release(own.hold(other, await own.admit(other, 20 * CENT, 1)))
        assert time.monotonic() - started_s < 0.05
        await asyncio.sleep(0.02)
    await proxy.restore()


async def test_after_an_outage_the_ledger_knows_what_was_spent(flaky, database, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1)
    own.release(own.hold(team, await own.admit(team, CENT, CENT)))
    proxy.refuse()
    amount, _ = await admitted_until_refused(own, team)
    assert amount == 150 * CENT
    assert await spent_usd(database, team) == 0
    await proxy.restore()
    async with asyncio.timeout(5):
        while await spent_usd(database, team) != Decimal("1.50") or own.desk.is_failing:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    admission = await own.admit(team, CENT, CENT)
    assert not admission.is_admitted
    assert admission.view.status is BudgetStatus.BLOCKED
    async with asyncio.timeout(1.5):
        while await held_usd(database, team):
            await asyncio.sleep(0.02)


async def test_a_connection_that_was_cut_is_no_outage(flaky, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1)
    own.release(own.hold(team, await own.admit(team, CENT, CENT)))
    for _ in range(3):
        proxy.cut()
        admission = await own.admit(team, 20 * CENT, CENT)
        assert admission.is_admitted
        assert not admission.failed_open
        own.release(own.hold(team, admission))


async def test_an_answer_that_was_lost_costs_nobody_a_grant_for_long(flaky, database, make_team):
    own, proxy = flaky
    team = await make_team(cap_usd=1)
    own.release(own.hold(team, await own.admit(team, CENT, CENT)))
    await asyncio.sleep(1.0)
    proxy.drop_answers()
    admission = await own.admit(team, 30 * CENT, CENT)
    own.release(own.hold(team, admission))
    assert admission.failed_open
    assert await held_usd(database, team) >= Decimal("0.30")
    proxy.cut()
    await proxy.restore()
    async with asyncio.timeout(3):
        while await held_usd(database, team):
            await asyncio.sleep(0.02)


async def test_an_error_that_is_no_outage_never_lets_a_request_through(flaky, database, make_team):
    own, _ = flaky
    team = await make_team(cap_usd=1)
    await database.execute("ALTER FUNCTION ledger.lease_sync RENAME TO lease_gone")
    with pytest.raises(LedgerUnavailableError):
        await own.admit(team, CENT, CENT)
    assert not own.desk.is_failing
    await database.execute("ALTER FUNCTION ledger.lease_gone RENAME TO lease_sync")
    assert (await own.admit(team, CENT, CENT)).is_admitted


async def test_strict_holds_while_connections_break_and_answers_are_lost(
    database_url, tmp_path, database
):
    """Goal: no retry, lost grant or reconnect ever lets a strict team over its cap.

    Method: three workers behind one proxy that cuts, freezes and loses answers while they race.
    """
    team = await make_spent_team(database, enforcement="strict", cap_usd=Decimal(25))
    async with FlakyTcp.before_postgres(database_url) as proxy, AsyncExitStack() as stack:
        through = proxy.postgres_url(database_url)
        workers = [await stack.enter_async_context(worker(through, tmp_path)) for _ in range(3)]
        for own in workers:
            await own.desk.load(TeamId(team))
        racing = [
            asyncio.ensure_future(run_streams(own, team, streams=40, seed=n, pace_s=0.4))
            for n, own in enumerate(workers)
        ]
        for disturb in (proxy.cut, proxy.drop_answers, proxy.cut, proxy.freeze, proxy.cut):
            await asyncio.sleep(0.15)
            disturb()
            await asyncio.sleep(0.1)
            proxy.cut()
            await proxy.restore()
        results = await asyncio.gather(*racing)
        assert sum(len(stats.ran) for stats in results) > 0
        assert proxy.connections > 2 * 3 * 3
        assert proxy.dropped_bytes > 0
        assert await spent_usd(database, team) <= 25
        assert await wait_for_no_holds(database, team) is not None
        assert await fits_again(workers[0], database, team, Decimal(25))


async def test_an_overrun_while_the_ledger_is_asked_refuses_nobody(flaky, make_team):
    """What was granted meanwhile pays for the overrun: it says nothing about the cap."""
    own, proxy = flaky
    team = await make_team(cap_usd=1000)
    running = own.hold(team, await own.admit(team, CENT, CENT))
    proxy.freeze()
    waiting = asyncio.ensure_future(own.admit(team, 100 * CENT, CENT))
    await asyncio.sleep(0.1)
    own.settle(running, 5 * USD)
    await proxy.restore()
    admission = await waiting
    assert admission.is_admitted
    assert not admission.failed_open
    own.release(own.hold(team, admission))
