"""Many teams that need the ledger at once share a question, and stay as strict as each alone."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from decimal import Decimal

import asyncpg
import pytest
import structlog

from gateway.domain.ids import TeamId
from gateway.domain.money import usd_from_pico
from scripts.budget_worker import worker
from scripts.team_money import held_usd, spent_usd, wait_for_no_holds
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.ledger import DEADLOCKS

CENT = 10**10


@pytest.fixture
async def teams(make_team):
    return [await make_team(f"team {number}", cap_usd=1) for number in range(60)]


async def use(own, team, hold=CENT, cost=CENT):
    admission = await own.admit(team, hold, hold)
    if admission.is_admitted:
        own.settle(own.hold(team, admission), cost)
    return admission


async def test_teams_that_come_at_once_share_a_few_questions(
    database_url, tmp_path, database, teams
):
    async with worker(database_url, tmp_path) as own:
        admissions = await asyncio.gather(*(own.admit(team, CENT, CENT) for team in teams))
        assert all(admission.is_admitted for admission in admissions)
        assert all(admission.is_leased and not admission.failed_open for admission in admissions)
        assert own.leases.sync_count <= 8
        asked = own.leases.sync_count
        for team in teams:
            assert await held_usd(database, team) >= usd_from_pico(CENT)
        for team, admission in zip(teams, admissions, strict=True):
            own.settle(own.hold(team, admission), CENT)
        # What idles is given back together, too.
        async with asyncio.timeout(3):
            while any([await held_usd(database, team) for team in teams]):
                await asyncio.sleep(0.02)
        assert own.leases.sync_count - asked <= 12
        assert await spent_usd(database, teams[0]) == usd_from_pico(CENT)


async def test_a_process_that_ends_under_load_gives_all_back_in_a_question(
    database_url, tmp_path, database, teams
):
    async with worker(database_url, tmp_path) as own:
        for team in teams:
            own.hold(team, await own.admit(team, CENT, CENT))
        blocker = await asyncpg.connect(database_url)
        try:
            await blocker.execute("BEGIN")
            await blocker.execute(
                "SELECT FROM ledger.budget_lease WHERE team_id = $1 FOR UPDATE", teams[7]
            )
            asyncio.get_running_loop().call_later(
                0.3, lambda: asyncio.ensure_future(blocker.execute("ROLLBACK"))
            )
            asked = own.leases.sync_count
            await own.desk.close()
            # One for all, and one for the team that was locked.
            assert own.leases.sync_count - asked == 2
        finally:
            await blocker.close()
        # The requests that are still running keep their holds, and no more.
        assert {await held_usd(database, team) for team in teams} == {usd_from_pico(CENT)}


async def test_a_lease_that_a_post_holds_delays_its_own_team_alone(
    database_url, tmp_path, database, teams
):
    async with worker(database_url, tmp_path) as own:
        for team in teams:
            await use(own, team)
        for team in teams:
            await wait_for_no_holds(database, team)
        blocker = await asyncpg.connect(database_url)
        try:
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute(
                "SELECT FROM ledger.budget_lease WHERE team_id = $1 FOR UPDATE", teams[7]
            )
            began_s = time.monotonic()
            # Fewer than go into one question, so that the locked one is among them.
            asking = {team: asyncio.ensure_future(own.admit(team, CENT, CENT)) for team in teams}
            others = [task for team, task in asking.items() if team != teams[7]]
            done, _ = await asyncio.wait(others, timeout=0.7)
            assert len(done) == len(others)
            assert not asking[teams[7]].done()
            await transaction.rollback()
            admission = await asking[teams[7]]
            assert admission.is_admitted
            assert not admission.failed_open
            assert time.monotonic() - began_s < 1.8
        finally:
            await blocker.close()
        assert not own.desk.is_failing
        for team, task in asking.items():
            own.release(own.hold(team, task.result()))
        # However long the answer took, what idles goes back within a second.
        async with asyncio.timeout(2):
            while any([await held_usd(database, team) for team in teams]):
                await asyncio.sleep(0.02)


async def test_a_question_whose_answer_is_lost_is_asked_again_for_each(
    database_url, tmp_path, database, teams
):
    async with (
        FlakyTcp.before_postgres(database_url) as proxy,
        worker(database_url, tmp_path, lease_url=proxy.postgres_url(database_url)) as own,
    ):
        for team in teams:
            await use(own, team)
        await asyncio.sleep(1)
        with structlog.testing.capture_logs() as logs:
            proxy.drop_answers()
            asking = asyncio.gather(*(own.admit(team, CENT, CENT) for team in teams))
            await asyncio.sleep(0.2)
            proxy.cut()
            await proxy.restore()
            for team, admission in zip(teams, await asking, strict=True):
                assert admission.is_admitted
                own.release(own.hold(team, admission))
        assert "budget.question_failed" in {line["event"] for line in logs}
        # What was granted twice comes back.
        async with asyncio.timeout(4):
            while any([await held_usd(database, team) for team in teams]):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("enforcement", ["strict", "hard"])
async def test_workers_that_ask_for_the_same_teams_keep_every_cap_and_never_deadlock(
    database_url, tmp_path, database, make_team, enforcement
):
    """Goal: no team over its cap, no deadlock between questions and posts of the same leases."""
    rng = random.Random(11)
    teams = [
        await make_team(f"team {number}", cap_usd="0.20", enforcement=enforcement)
        for number in range(30)
    ]
    before = await database.fetchval(DEADLOCKS)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(worker(database_url, tmp_path)) for _ in range(3)
        ]
        for _ in range(12):
            calls = [(own, team) for own in workers for team in teams for _ in range(2)]
            rng.shuffle(calls)
            await asyncio.gather(*(use(own, team) for own, team in calls))
            await asyncio.sleep(0.03)
        for own in workers:
            assert await own.poster.drain(5)
            assert not own.desk.is_failing
    assert await database.fetchval(DEADLOCKS) == before
    for team in teams:
        # Every hold is its exact cost: a cap is reached, and not crossed.
        spent = await spent_usd(database, TeamId(team))
        assert Decimal("0.20") - usd_from_pico(CENT) <= spent <= Decimal("0.20")
