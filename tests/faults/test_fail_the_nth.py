"""A cancel or an error at every suspension point of every request path; the books stay right."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from gateway.app import Timeouts, serving
from gateway.config import Config
from scripts.kill_clients import make_credentials
from tests.fakes.nth_step import NthStep
from tests.fakes.provider import FakeProvider
from tests.fakes.raw_client import request
from tests.fakes.roads import BY_THE_FRAMEWORK, ROADS, call, environment, make_team
from tests.fixtures.gateway import assert_books_are_in_order

pytestmark = pytest.mark.timeout(180)
FAULTS = ("cancel", "late cancel", "exception")
COMING_AND_GOING = ("FakeProvider", "Poster._", "Event.wait")
# More suspension points than any path has.
STEPS_MAX = 60
_HOLDS = re.compile(r"^gateway_holds_open (\S+)$", re.MULTILINE)


@pytest.fixture
async def provider():
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
async def steps():
    """Hurts tasks of this loop, which is the gateway's, the provider's and the client's."""
    steps = NthStep()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(steps)
    # What was injected ends in the loop's handler where a task of the framework dies of it.
    loop.set_exception_handler(lambda _loop, _context: None)
    yield steps
    loop.set_task_factory(None)
    loop.set_exception_handler(None)


@asynccontextmanager
async def running_gateway(url, provider, data_dir):
    config = Config.from_env(environment(provider, data_dir))
    timeouts = Timeouts(shutdown_s=5, gone_client_s=2)
    async with serving(config, database_url=url, is_embedded=False, timeouts=timeouts) as running:
        yield running


async def open_holds(running):
    metrics = await request(running.admin_url, "GET", "/metrics", [])
    return float(_HOLDS.search(metrics.body.decode())[1])


async def settled(running):
    """Every hold has ended; returns how many tasks there are then."""
    async with asyncio.timeout(10):
        while await open_holds(running):
            await asyncio.sleep(0.01)


def lasting_tasks():
    """Names of all but those that come and go by themselves, and the provider's own."""
    names = {getattr(task.get_coro(), "__qualname__", "stepped") for task in asyncio.all_tasks()}
    return {name for name in names if not name.startswith(COMING_AND_GOING)}


def assert_heard(road, answer, whole):
    """A correct answer, an error, or a break that shows; never a clean end of something else."""
    if answer is None or road.leaves or not answer.is_whole or answer.status >= 400:
        return
    assert answer.status == road.status
    assert answer.body == whole


async def entries_of(database, credentials):
    keys = [credential.api_key_id for credential in credentials]
    rows = await database.fetch(
        "SELECT * FROM ledger.ledger_entry WHERE api_key_id = ANY($1::bigint[])", keys
    )
    assert len({row["api_key_id"] for row in rows}) == len(rows), "an entry twice"
    return {row["api_key_id"]: row for row in rows}


def assert_booked(road, answer, received, row):
    """At most one entry; exact where the client heard the end; one if the provider was asked."""
    has_heard = answer is not None and answer.is_whole and answer.status == 200
    if road.amount_usd is None:
        assert row is None
    elif has_heard and not road.leaves:
        assert row["amount_usd"] == road.amount_usd
        assert row["usage_source"] == "exact"
        assert str(row["entry_id"]) == answer.header("x-gateway-request-id")
    elif received:
        assert row is not None
        assert row["amount_usd"] > 0
    else:
        assert row is None


@pytest.mark.parametrize("more", [[], BY_THE_FRAMEWORK], ids=["ours", "the framework's"])
@pytest.mark.parametrize("road", ROADS, ids=lambda road: road.name)
async def test_a_fault_at_any_step_ends_the_hold_once(
    database_url, database, provider, tmp_path, steps, road, more
):
    """Goal: whatever happens to a request, its money is right and its client is not deceived.

    Method: one request a step and fault, each with a new key, which names it in the ledger.
    """
    async with running_gateway(database_url, provider, tmp_path) as running:
        tasks = lasting_tasks()
        team_id = await make_team(database, road)
        (first,) = await make_credentials(database, [team_id], 1)
        expected = await call(running.url, road, first, more)
        assert expected.status == road.status
        assert expected.is_whole or road.leaves
        whole = road.whole or expected.body
        assert expected.body == whole or road.leaves
        tried = []
        for fault in FAULTS:
            for number in range(1, STEPS_MAX):
                (credential,) = await make_credentials(database, [team_id], 1)
                before = len(provider.requests)
                steps.arm(fault, number)
                answer = await call(running.url, road, credential, more)
                await settled(running)
                steps.disarm()
                assert_heard(road, answer, whole)
                tried.append((credential, answer, len(provider.requests) > before))
                if not steps.has_struck:
                    break
            else:
                pytest.fail("more steps than were thought of")
            assert number > 1
        for _ in range(100):
            if lasting_tasks() <= tasks:
                break
            await asyncio.sleep(0.02)
        assert lasting_tasks() <= tasks
        # The team serves on, whatever was done to its requests.
        assert (await call(running.url, road, first, more)).status == road.status
        await settled(running)
    rows = await entries_of(database, [credential for credential, _, _ in tried])
    for credential, answer, received in tried:
        assert_booked(road, answer, received, rows.get(credential.api_key_id))
    await assert_books_are_in_order(database_url)
