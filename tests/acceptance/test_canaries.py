"""Goal: no secret and no content gets out where it does not belong (threats T-19, T-24, T-27, T-58).

Method: plant a text of its own in each place where a secret may come in, drive good and bad requests
through a gateway that logs all it can, and look for each in all that comes out.
"""

import asyncio
import json
from contextlib import suppress

import pytest

from tests.fakes.canaries import Canaries
from tests.fakes.posthog import FakePostHog
from tests.fakes.provider import Answer, FakeProvider, playing, saying
from tests.fakes.raw_client import connected, request
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, OPENAI_TEXT
from tests.fixtures.gateway import chat_body, messages_body
from tests.fixtures.process import GatewayProcess

CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie")
SETTLED = 7
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def canaries():
    return Canaries()


@pytest.fixture
async def provider():
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
async def posthog():
    async with FakePostHog() as fake:
        yield fake


@pytest.fixture
async def key(canaries, make_team, make_key):
    return canaries.adopt("gateway key", (await make_key(await make_team("growth", "900.00")))[1])


@pytest.fixture(params=["false", "true"], ids=["without content", "with content"])
def captures(request):
    return request.param == "true"


@pytest.fixture
async def gateway(canaries, provider, posthog, captures, key, tmp_path, database_url):
    settings = {
        "GATEWAY_DATABASE_URL": database_url,
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_ADMIN_TOKEN": canaries.plant("admin token"),
        "GATEWAY_ANTHROPIC_BASE_URL": provider.anthropic_base_url,
        "GATEWAY_ANTHROPIC_API_KEY": canaries.plant("anthropic key", "sk-ant-"),
        "GATEWAY_ANTHROPIC_ADMIN_KEY": canaries.plant("anthropic admin key"),
        "GATEWAY_OPENAI_BASE_URL": provider.openai_base_url,
        "GATEWAY_OPENAI_API_KEY": canaries.plant("openai key"),
        # Nobody answers there.
        "GATEWAY_MISTRAL_BASE_URL": f"http://user:{canaries.plant('url password').replace('/', '')}@127.0.0.1:9",
        "GATEWAY_MISTRAL_API_KEY": canaries.plant("mistral key"),
        "GATEWAY_POSTHOG_HOST": posthog.url,
        "GATEWAY_POSTHOG_PROJECT_KEY": canaries.plant("project key", "phc_"),
        "GATEWAY_POSTHOG_SECRET_KEY": canaries.plant("secret key", "phs_"),
        "GATEWAY_COST_CONTROLS": "flag",
        "GATEWAY_POSTHOG_CAPTURE_CONTENT": str(captures).lower(),
    }
    canaries.texts["url password"] = canaries.texts["url password"].replace("/", "")
    gateway = await asyncio.to_thread(GatewayProcess, tmp_path / "data", **settings)
    yield gateway
    await asyncio.to_thread(gateway.__exit__)


def document_saying(text):
    return ANTHROPIC_TEXT.document | {"content": [{"type": "text", "text": text}]}


class Driver:
    """Drives requests and keeps what clients saw, apart from what the contract lets them see."""

    def __init__(self, gateway, provider, canaries, key):
        self.gateway, self.provider, self.canaries = gateway, provider, canaries
        self.headers = [("x-api-key", key), ("content-type", "application/json")]
        self.seen = []
        """Of each answer its head, and its body where the gateway wrote it."""
        self.entry_ids = []

    async def call(self, answer=None, *, target="/v1/messages", body=None, headers=(), status=200):
        if answer is not None:
            self.provider.will(answer)
        sent = [*self.headers, *headers]
        got = await request(self.gateway.url, "POST", target, sent, body or messages_body())
        assert got.status == status, (got.status, got.body)
        self.seen.append(repr(got.headers).encode())
        if answer is None:
            self.seen.append(got.body)
        else:
            self.entry_ids.append(got.header("x-gateway-request-id"))
        return got

    async def raw(self, url, *pieces):
        """Whatever comes back for bytes that may be no HTTP at all."""
        async with connected(url) as connection, asyncio.timeout(10):
            connection.send_bytes(b"".join(pieces))
            with suppress(ConnectionError):
                self.seen.append(await connection._reader.read())

    async def good_ones(self):
        plant = self.canaries.plant
        prompt = messages_body(
            f', "system": "{plant("system prompt")}"', model="claude-sonnet-4-6"
        ).replace("Grüezi".encode(), plant("prompt").encode())
        cookie = ("set-cookie", f"session={plant('provider cookie')}; Path=/")
        own = [
            ("cookie", f"session={plant('client cookie')}"),
            ("proxy-authorization", f"Basic {plant('proxy credential')}"),
            ("x-secret-of-mine", plant("unknown header")),
            ("connection", "x-secret-of-mine"),
        ]
        answer = saying(document_saying(plant("completion"))).with_headers(cookie)
        await self.call(answer, body=prompt, headers=own)
        stream = ANTHROPIC_STREAM.body.replace(b"ledger ", plant("streamed text").encode())
        assert self.canaries.found_in(stream) == ["streamed text"]
        answer = playing(ANTHROPIC_STREAM, pieces=(stream,))
        await self.call(answer, body=messages_body(stream=True))
        body = chat_body().replace("Grüezi".encode(), plant("chat prompt").encode())
        await self.call(playing(OPENAI_TEXT), target="/v1/chat/completions", body=body)

    async def refused_ones(self):
        plant = self.canaries.plant
        for name in CREDENTIAL_HEADERS:
            wrong = [(name, f"Bearer {plant(f'wrong {name}')}"), ("content-length", "2")]
            for target in ("/v1/messages", f"/nowhere/{plant(f'path for {name}')}"):
                got = await request(self.gateway.url, "POST", target, wrong, b"{}")
                assert got.status in {401, 404}
                self.seen.append(repr(got).encode())
        for body in (
            '{"model": "m", "messages": "%s"',
            '{"model": ["%s"], "messages": []}',
            '{"model": "m", "model": "%s"}',
            '{"model": "claude-sonnet-4-6", "max_tokens": "%s", "messages": []}',
        ):
            told = body % plant(f"body like {body[:14]}{body[-9:]}")
            await self.call(body=told.encode(), status=400)
        await self.call(target=f"/v1/messages?key={plant('query')}", status=400)
        second = ("authorization", f"Bearer {plant('second credential')}")
        await self.call(headers=[second], status=400)
        header = ("x-posthog-provider", plant("posthog header"))
        await self.call(headers=[header], status=400)

    async def provider_failures(self):
        key = self.canaries.texts["anthropic key"]
        echo = {"type": "error", "error": {"type": "authentication_error", "message": f"bad {key}"}}
        got = await self.call(saying(echo, status=401), status=401)
        # The contract wants it: a provider's own error is relayed as it came.
        assert got.document == echo
        await self.call(
            saying(b"<html>sk-ant-" + key.encode(), status=500).with_headers(("x-echo", key)),
            status=500,
        )
        garbage = f"HTTP/1.1 200 OK\r\nX-Echo: {key}\x01\x00\r\n: {key}\r\n\r\n{key}".encode()
        await self.call(Answer(pieces=(garbage,), framing="bare"), status=502)
        # Nothing was reached: neither an entry nor an event.
        await self.call(
            target="/v1/chat/completions", body=chat_body(model="mistral/mistral-small"), status=502
        )

    async def client_leaves(self):
        self.provider.will(playing(ANTHROPIC_STREAM, interval_s=0.05))
        async with connected(self.gateway.url) as connection:
            connection.send("POST", "/v1/messages", self.headers, messages_body(stream=True))
            answer = await connection.head()
            self.entry_ids.append(answer.header("x-gateway-request-id"))
            await anext(connection.pieces(answer))

    async def unparsable_ones(self):
        plant = self.canaries.plant
        for url, where in ((self.gateway.url, "here"), (self.gateway.ready["admin_url"], "admin")):
            for name in CREDENTIAL_HEADERS:
                secret = plant(f"{name} before rubbish ({where})")
                head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\n{name}: {secret}"
                await self.raw(url, head.encode(), b"\x01\r\n\r\n")
                await self.raw(url, head.encode(), b"\r\nX: \x00\x01\r\n\r\n")
                await self.raw(url, head.encode(), b"\r\nContent-Length: 1, 2\r\n\r\n")
            secret = plant(f"request line ({where})")
            await self.raw(url, f"{secret} /{secret} HTTP/7.7\r\n\r\n".encode())
            chunk = f"Transfer-Encoding: chunked\r\n\r\n{plant(f'chunk size ({where})')}\r\n"
            await self.raw(url, b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n", chunk.encode())
            await self.raw(url, b"\x16\x03\x01", plant(f"no HTTP ({where})").encode(), b"\r\n\r\n")

    async def admin_ones(self):
        wrong = [("authorization", f"Bearer {self.canaries.plant('wrong admin token')}")]
        right = [("authorization", f"Bearer {self.canaries.texts['admin token']}")]
        url = self.gateway.ready["admin_url"]
        for headers, status in ((wrong, 401), (right, 200)):
            for target in ("/metrics", "/"):
                got = await request(url, "GET", target, headers)
                assert got.status == status
                self.seen.append(got.body)


async def ledger_text(database):
    tables = await database.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'ledger' AND tablename <> 'price'"
    )
    rows = []
    for (table,) in tables:
        rows += await database.fetch(f"SELECT '{table}', row::text FROM ledger.{table} row")
    return "\n".join(map(str, rows))


async def test_no_secret_gets_out_where_it_does_not_belong(
    gateway, provider, posthog, database, canaries, captures, key
):
    driver = Driver(gateway, provider, canaries, key)
    await driver.good_ones()
    await driver.refused_ones()
    await driver.provider_failures()
    await driver.client_leaves()
    await driver.unparsable_ones()
    assert len(driver.entry_ids) == SETTLED
    await posthog.wait_for_events(SETTLED)
    await driver.admin_ones()
    content = ("system prompt", "prompt", "completion", "streamed text", "chat prompt")
    kept = content if captures else ()

    # What clients see of the gateway's own, and what providers are sent of the clients'.
    assert [canaries.found_in(seen) for seen in driver.seen if canaries.found_in(seen)] == []
    own = ("anthropic key", "openai key")
    for sent in provider.requests:
        assert canaries.found_in(repr((sent.path, sent.query, sent.headers)), but=own) == []
        assert not canaries.found_in(sent.body, but=content)
    assert posthog.requests[0].path == "/flags/definitions"

    events = json.dumps(posthog.events, ensure_ascii=False)
    assert canaries.found_in(events) == list(kept)
    files = [path for path in gateway.data_dir.rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    assert all(entry_id.encode() in stored for entry_id in driver.entry_ids)
    assert canaries.found_in(stored) == list(kept)

    rows = await ledger_text(database)
    assert all(entry_id in rows for entry_id in driver.entry_ids)
    assert key[:11] in rows
    assert canaries.found_in(rows) == []

    await asyncio.to_thread(gateway.__exit__)
    settled = [line for line in gateway.log.splitlines() if '"event":"request.settled"' in line]
    for entry_id in driver.entry_ids:
        assert sum(f'"entry_id":"{entry_id}"' in line for line in settled) == 1
    assert len(settled) == SETTLED
    assert "request.unparsable" in gateway.log
    assert canaries.found_in(gateway.log) == []


def test_the_scanner_finds_what_it_should(canaries):
    text = canaries.plant("one")
    other = Canaries()
    other.plant("other")
    for form in (text, f"x{text}y", json.dumps({"a": [text]})):
        assert canaries.found_in(form) == ["one"]
        assert canaries.found_in(form, but=("one",)) == []
        assert other.found_in(form) == []
