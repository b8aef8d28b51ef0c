"""PostHog refuses, hangs, fails, says too large, is slow: no request notices, no event is lost."""

import asyncio
import time
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import serving
from gateway.config import Config
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.posthog import FakePostHog
from tests.fakes.provider import FakeProvider
from tests.fakes.raw_client import request
from tests.fixtures.gateway import TIMEOUTS, environment_of, messages_body
from tests.fixtures.process import GatewayProcess

REQUEST_MAX_S = 1.0
DELIVERED_WITHIN_S = 15.0
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def provider():
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
async def posthog():
    async with FakePostHog() as fake:
        yield fake


@pytest.fixture
async def line(posthog):
    """The line to PostHog, which can be cut."""
    parts = urlsplit(posthog.url)
    async with FlakyTcp((parts.hostname, parts.port)) as proxy:
        yield proxy


@pytest.fixture
async def environment(provider, posthog, line, tmp_path):
    host = f"http://127.0.0.1:{line.port}"
    return environment_of(provider, posthog, tmp_path / "data", GATEWAY_POSTHOG_HOST=host)


@pytest.fixture
async def key(make_team, make_key):
    return (await make_key(await make_team("growth", cap_usd="1000.00")))[1]


class Client:
    """Calls the gateway and remembers the ids of what it generated."""

    def __init__(self, url, admin_url, key):
        self._url, self._admin_url = url, admin_url
        self._headers = [("x-api-key", key), ("content-type", "application/json")]
        self.ids = []

    async def calls(self, count):
        """One after the other, each answered as if there were no PostHog."""
        for _ in range(count):
            started_s = time.monotonic()
            answer = await request(
                self._url, "POST", "/v1/messages", self._headers, messages_body()
            )
            assert answer.status == 200, answer.body
            assert time.monotonic() - started_s < REQUEST_MAX_S
            self.ids.append(answer.header("x-gateway-request-id"))

    async def counts(self):
        """Events sent, dropped, and waiting, as an operator sees them."""
        exposition = (await request(self._admin_url, "GET", "/metrics")).body.decode()
        values = {
            (sample.name, sample.labels.get("reader")): 0.0
            for family in text_string_to_metric_families(exposition)
            for sample in family.samples
        }
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                values[sample.name, sample.labels.get("reader")] += sample.value
        return (
            values["gateway_events_sent_total", None],
            values.get(("gateway_events_dropped_total", None), 0),
            values["gateway_journal_depth", "events"],
            values["gateway_events_queued", None],
        )

    async def counts_become(self, *expected):
        async with asyncio.timeout(DELIVERED_WITHIN_S):
            while (found := await self.counts()) != expected:
                sent, dropped, waiting, queued = found
                assert sent + dropped + waiting >= len(self.ids)
                assert queued <= waiting
                await asyncio.sleep(0.02)


@asynccontextmanager
async def client_of(environment, database_url, key):
    config = Config.from_env(environment)
    async with serving(
        config, database_url=database_url, is_embedded=False, timeouts=TIMEOUTS
    ) as running:
        yield Client(running.url, running.admin_url, key)


def fail(posthog, line, outage):
    match outage:
        case "refuses":
            line.refuse()
        case "hangs":
            line.freeze()
        case "loses answers":
            line.drop_answers()
        case "slow":
            posthog.mode, posthog.delay_s = "slow", 1.0
        case status:
            posthog.mode = status


async def heal(posthog, line, outage):
    posthog.mode = "ok"
    if outage == "loses answers":
        line.cut()
    await line.restore()


@pytest.mark.parametrize("outage", ["refuses", "hangs", "loses answers", "500", "429"])
async def test_an_outage_touches_no_request_and_loses_no_event(
    outage, environment, database_url, key, posthog, line
):
    async with client_of(environment, database_url, key) as client:
        await client.calls(3)
        await client.counts_become(3, 0, 0, 0)
        fail(posthog, line, outage)
        await client.calls(20)
        # Exactly what has not arrived waits, and is known to.
        async with asyncio.timeout(DELIVERED_WITHIN_S):
            while not (await client.counts())[3]:
                await asyncio.sleep(0.02)
        sent, dropped, waiting, queued = await client.counts()
        assert (sent, dropped, waiting) == (3, 0, 20)
        assert 0 < queued <= 20
        await heal(posthog, line, outage)
        await client.calls(3)
        await client.counts_become(26, 0, 0, 0)
        assert set(posthog.event_ids) == set(client.ids)


async def test_a_slow_posthog_delays_nothing_else(environment, database_url, key, posthog, line):
    async with client_of(environment, database_url, key) as client:
        fail(posthog, line, "slow")
        await client.calls(20)
        await client.counts_become(20, 0, 0, 0)
        assert sorted(posthog.event_ids) == sorted(client.ids)


async def test_a_batch_that_is_too_large_is_sent_in_parts(
    environment, database_url, key, posthog, line
):
    async with client_of(environment, database_url, key) as client:
        posthog.events_max = 2
        line.refuse()
        await client.calls(9)
        await line.restore()
        await client.counts_become(9, 0, 0, 0)
        assert sorted(posthog.event_ids) == sorted(client.ids)


async def test_what_posthog_refuses_for_good_is_dropped_and_counted(
    environment, database_url, key, posthog
):
    async with client_of(environment, database_url, key) as client:
        posthog.mode = "413"
        await client.calls(4)
        await client.counts_become(0, 4, 0, 0)
        posthog.mode = "ok"
        await client.calls(2)
        await client.counts_become(2, 4, 0, 0)
        assert posthog.event_ids == client.ids[4:]


@pytest.mark.parametrize("end", ["terminated", "killed"])
async def test_a_gateway_that_ends_during_an_outage_loses_no_event(
    end, environment, database_url, key, posthog, line
):
    settings = {**environment, "GATEWAY_DATABASE_URL": database_url}
    data_dir = settings.pop("GATEWAY_DATA_DIR")
    line.refuse()

    async def start():
        return await asyncio.to_thread(GatewayProcess, data_dir, **settings)

    gateway = await start()
    client = Client(gateway.url, gateway.ready["admin_url"], key)
    await client.calls(10)
    if end == "killed":
        await asyncio.to_thread(gateway.kill)
    else:
        await asyncio.to_thread(gateway.__exit__)
    assert posthog.events == []
    await line.restore()
    again = await start()
    try:
        await posthog.wait_for_events(10, DELIVERED_WITHIN_S)
        assert set(posthog.event_ids) == set(client.ids)
        logged = gateway.log + again.log
    finally:
        await asyncio.to_thread(again.__exit__)
    # One line for each request, whichever process wrote it; a kill may take those of the last
    # moment with it, which the journal has.
    for entry_id in client.ids:
        settled = [row for row in logged.splitlines() if entry_id in row]
        assert len(settled) == 1 or (end == "killed" and not settled)
        assert all('"request.settled"' in row for row in settled)
