"""Every metric that is registered moves when that happens which it counts."""

import asyncio
from contextlib import asynccontextmanager

from prometheus_client.parser import text_string_to_metric_families

from gateway.app import serving
from gateway.config import Config
from gateway.telemetry import names
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.posthog import FakePostHog
from tests.fakes.provider import FakeProvider, playing, saying
from tests.fakes.raw_client import connected, request
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT
from tests.fixtures.gateway import TIMEOUTS, chat_body, environment_of, messages_body

BREAKPOINT = ', "system": [{"type": "text", "text": "R.", "cache_control": {"type": "ephemeral"}}]'
WITHIN_S = 10.0


@asynccontextmanager
async def surroundings(database_url):
    async with (
        FakeProvider() as provider,
        FakePostHog() as posthog,
        FlakyTcp.before_postgres(database_url) as line,
    ):
        yield provider, posthog, line


class Observed:
    """A gateway, a key, and the metrics by name as they are now, all labels together."""

    def __init__(self, running, key):
        self._running = running
        self.headers = [("x-api-key", key), ("content-type", "application/json")]

    @property
    def url(self):
        return self._running.url

    async def post(self, target="/v1/messages", body=None, status=200):
        body = body or messages_body()
        answer = await request(self.url, "POST", target, self.headers, body)
        assert answer.status == status, answer.body
        return answer

    async def samples(self):
        exposition = (await request(self._running.admin_url, "GET", "/metrics")).body.decode()
        sums = {}
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                name = sample.name.removesuffix("_count")
                if family.type != "histogram" or name != sample.name:
                    sums[name] = sums.get(name, 0) + sample.value
        return sums

    async def becomes(self, name, is_so):
        async with asyncio.timeout(WITHIN_S):
            while not is_so((await self.samples()).get(name, 0)):
                await asyncio.sleep(0.02)


async def test_every_metric_moves(tmp_path, database_url, make_team, make_key):
    async def key_of(name, cap_usd, **columns):
        return (await make_key(await make_team(name, cap_usd, **columns)))[1]

    async with surroundings(database_url) as (provider, posthog, line):
        environment = environment_of(
            provider,
            posthog,
            tmp_path / "data",
            GATEWAY_MISTRAL_BASE_URL="http://127.0.0.1:9",
            GATEWAY_MISTRAL_API_KEY="nobody-is-there",
        )
        async with serving(
            Config.from_env(environment),
            database_url=line.postgres_url(database_url),
            is_embedded=False,
            timeouts=TIMEOUTS,
        ) as running:
            gateway = Observed(running, await key_of("rich", "900.00"))
            before = await gateway.samples()
            await the_road(gateway, provider)
            poor = Observed(running, await key_of("poor", "0.00001", enforcement="strict"))
            unread = Observed(running, await key_of("unread", "900.00"))
            await the_guard(poor, unread, line)
            await the_events(gateway, posthog)
            after = await gateway.samples()
    moved = {name for name, value in after.items() if value != before.get(name, 0)}
    # Gauges are back where they were; each was seen elsewhere meanwhile.
    gauges = {
        *(names.HOLDS_OPEN, names.HOLDS_USD, names.EVENTS_QUEUED),
        *(names.JOURNAL_DEPTH, names.JOURNAL_AGE_S),
    }
    assert moved | gauges == set(names.METRICS)
    assert after[names.REQUESTS] == after[names.ADDED_LATENCY_S] - 1


async def the_road(gateway, provider):
    provider.will(playing(ANTHROPIC_STREAM))
    await gateway.post(body=messages_body(stream=True))
    provider.will(saying(ANTHROPIC_TEXT.document | {"model": "claude-of-next-year"}))
    await gateway.post(body=messages_body(model="claude-of-next-year"))
    await gateway.post("/posthog_code/v1/messages", messages_body(BREAKPOINT))
    await gateway.post("/v1/chat/completions", chat_body(model="mistral/mistral-small"), 502)
    provider.will(playing(ANTHROPIC_STREAM, interval_s=0.1, cut_after_bytes=900))
    async with connected(gateway.url) as connection:
        connection.send("POST", "/v1/messages", gateway.headers, messages_body(stream=True))
        await anext(connection.pieces(await connection.head()))
        await gateway.becomes(names.HOLDS_OPEN, lambda count: count == 1)
        assert (await gateway.samples())[names.HOLDS_USD] > 0
    await gateway.becomes(names.CLIENT_ABORTS, lambda count: count == 1)
    await gateway.becomes(names.HOLDS_OPEN, lambda count: count == 0)


async def the_guard(poor, unread, line):
    await poor.post(status=429)
    models = await request(unread.url, "GET", "/v1/models", unread.headers)
    assert models.status == 200
    # The key is known now, and what its team has spent is not.
    line.refuse()
    await unread.post()
    assert (await unread.samples())[names.FAIL_OPENS] == 1
    assert (await unread.samples())[names.JOURNAL_AGE_S] > 0
    await line.restore()
    await unread.becomes(names.JOURNAL_DEPTH, lambda depth: depth == 0)


async def the_events(gateway, posthog):
    posthog.mode = "503"
    await gateway.post()
    await gateway.becomes(names.EVENTS_QUEUED, lambda count: count == 1)
    assert (await gateway.samples())[names.JOURNAL_DEPTH] >= 1
    posthog.mode = "400"
    await gateway.becomes(names.EVENTS_DROPPED, lambda count: count == 1)
    posthog.mode = "ok"
    await gateway.becomes(names.EVENTS_QUEUED, lambda count: count == 0)
