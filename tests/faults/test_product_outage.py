"""The whole product while its database is away: who is served, who is not, and the books after it."""

import asyncio
from contextlib import AsyncExitStack
from decimal import Decimal

import asyncpg
import pytest

from gateway.postgres.connection import connect
from scripts.kill_clients import make_credentials
from scripts.outage_modes import MODES
from scripts.outage_scene import open_scene
from scripts.outage_trial import go_through
from tests.fakes.raw_client import request

pytestmark = pytest.mark.timeout(180)
ALLOWANCE_USD = Decimal("0.05")
# A generation of the fake provider costs no more than this: 3000 x 3 + 12 x 15 millionths.
DEAREST_USD = Decimal("0.00918")


async def team_and_key(scene, name, cap_usd):
    """A team that the gateway has heard of, with a key that it has seen."""
    database = await connect(scene.server.url(), application_name="tests")
    try:
        team_id = await database.fetchval(
            "INSERT INTO ledger.team (name, monthly_cap_usd) VALUES ($1, $2) RETURNING team_id",
            name,
            cap_usd,
        )
        (credential,) = await make_credentials(database, [team_id], 1)
    finally:
        await database.close()
    headers = [("x-api-key", credential.text)]
    # Once more after the news of the key has come, which makes what was known of it forgotten.
    for _ in range(2):
        # By what is free: nothing is leased for it.
        assert (await request(scene.gateway.url, "GET", "/v1/usage", headers)).status == 200
        await asyncio.sleep(0.5)
    return team_id, credential.text


async def spent_usd(scene, team_id):
    database = await connect(scene.server.url(), application_name="tests")
    try:
        return await database.fetchval(
            "SELECT coalesce(sum(spend_usd), 0) FROM ledger.team_month_spend WHERE team_id = $1",
            team_id,
        )
    finally:
        await database.close()


async def answers_until_refused(scene, key, most=80):
    statuses = []
    while len(statuses) < most and (not statuses or statuses[-1] in {200, 529, 500}):
        statuses.append(await scene.ask(key))
    return statuses


async def test_no_outage_fails_a_request_or_loses_an_entry(tmp_path):
    """Every way of being away, under traffic; the audit is that of `make outage-test`."""
    async with AsyncExitStack() as stack:
        scene = await open_scene(stack, tmp_path, seed=1)
        for mode in MODES:
            outcome = await go_through(scene, mode, seconds=0.8, clients=6)
            assert outcome.violations == []
            assert outcome.requests > 10
            assert outcome.entries > 0
        verified = await asyncio.to_thread(scene.gateway.command, "ledger", "verify")
        assert verified["balanced"]


async def test_a_small_cap_is_passed_by_no_more_than_the_allowance(tmp_path):
    settings = {"GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD": str(ALLOWANCE_USD)}
    async with AsyncExitStack() as stack:
        scene = await open_scene(stack, tmp_path, seed=2, **settings)
        cap_usd = Decimal("0.02")
        team_id, key = await team_and_key(scene, "small", cap_usd)
        scene.proxy.refuse()
        statuses = await answers_until_refused(scene, key)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert await spent_usd(scene, team_id) == 0
        await scene.proxy.restore()
        async with asyncio.timeout(20):
            while await spent_usd(scene, team_id) < cap_usd:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert cap_usd <= await spent_usd(scene, team_id) <= cap_usd + ALLOWANCE_USD + DEAREST_USD
        assert await scene.ask(key) == 429


async def test_closed_serves_only_teams_without_a_cap(tmp_path):
    async with AsyncExitStack() as stack:
        scene = await open_scene(stack, tmp_path, seed=3, GATEWAY_BUDGET_FAIL_MODE="closed")
        _, free = await team_and_key(scene, "uncapped", None)
        _, capped = await team_and_key(scene, "under a cap", Decimal(1000))
        scene.proxy.refuse()
        assert await scene.ask(capped) == 503
        assert await scene.ask(free) in {200, 529}
        await scene.proxy.restore()
        async with asyncio.timeout(10):
            while await scene.ask(capped) == 503:
                await asyncio.sleep(0.05)


async def test_a_key_that_was_never_seen_waits_for_the_database(tmp_path):
    """Authentication never fails open."""
    async with AsyncExitStack() as stack:
        scene = await open_scene(stack, tmp_path, seed=4)
        team_id, key = await team_and_key(scene, "known", None)
        scene.proxy.refuse()
        served = [await scene.ask(key) for _ in range(5)]
        assert set(served) <= {200, 529}
        assert await scene.ask("gw_" + "u" * 43) == 503
        await scene.proxy.restore()
        database = await connect(scene.server.url(), application_name="tests")
        stack.push_async_callback(database.close)
        async with asyncio.timeout(20):
            while await _count(database, team_id) < len(served):
                await asyncio.sleep(0.05)
        assert await _count(database, team_id) == len(served)
        assert await scene.ask("gw_" + "u" * 43) == 401


async def _count(database: "asyncpg.Connection[asyncpg.Record]", team_id: int) -> int:
    return await database.fetchval(
        "SELECT count(*) FROM ledger.ledger_entry WHERE team_id = $1", team_id
    )
