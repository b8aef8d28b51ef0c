"""The whole process, as an operator starts it: killed in a stream, terminated in a stream, started again."""

import asyncio
import signal
from contextlib import asynccontextmanager

import asyncpg
import psutil
import pytest

from gateway.postgres.embedded import EmbeddedPostgres
from tests.fakes.provider import FakeProvider, playing
from tests.fakes.raw_client import connected, request
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT
from tests.fixtures.gateway import messages_body
from tests.fixtures.process import GatewayProcess, wait_until_gone

# Contract, section 2: what a SIGKILL of the gateway leaves behind is gone within this.
GONE_WITHIN_S = 3.0
INTERVAL_S = 0.05
PROVIDER_CREDENTIAL = "sk-ant-api03-the-providers-own-credential"
# On virtual machines shared by other tests, the next start may take a while.
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def provider():
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


async def start(data_dir, provider):
    """A gateway on the embedded database, in front of the fake provider; no blocking of our loop."""
    return await asyncio.to_thread(
        GatewayProcess,
        data_dir,
        "--demo",
        GATEWAY_ANTHROPIC_BASE_URL=provider.anthropic_base_url,
        GATEWAY_ANTHROPIC_API_KEY=PROVIDER_CREDENTIAL,
    )


def key_headers(key):
    return [("x-api-key", key), ("content-type", "application/json")]


@asynccontextmanager
async def streaming(gateway, key):
    """A stream whose first pieces have been heard: (connection, answer so far)."""
    async with connected(gateway.url) as connection, asyncio.timeout(30):
        connection.send("POST", "/v1/messages", key_headers(key), messages_body(stream=True))
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            if answer.body.count(b"\n\n") >= 3:
                break
        yield connection, answer


async def rows_once(url, count, timeout_s=10):
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                rows = await connection.fetch("SELECT * FROM ledger.ledger_entry ORDER BY entry_id")
                if len(rows) >= count:
                    return rows
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


def database_url(data_dir):
    return EmbeddedPostgres(data_dir).url()


async def test_a_kill_in_a_stream_leaves_no_server_and_loses_nothing(data_dir, provider):
    """What was heard whole is exact, what was cut is estimated, and the next start serves."""
    gateway = await start(data_dir, provider)
    key, postgres_pid = gateway.key, gateway.postgres_pid
    provider.will(
        playing(ANTHROPIC_STREAM, hangs_after_pieces=5),
        playing(ANTHROPIC_STREAM),
    )
    async with streaming(gateway, key) as (connection, cut):
        whole = await request(
            gateway.url, "POST", "/v1/messages", key_headers(key), messages_body(stream=True)
        )
        # At once: the entry of what has just been heard stands in the journal alone.
        await asyncio.to_thread(gateway.kill)
        await connection.rest(cut)
    assert whole.body == ANTHROPIC_STREAM.body
    assert not cut.is_whole
    await asyncio.to_thread(wait_until_gone, postgres_pid, GONE_WITHIN_S)

    with await start(data_dir, provider) as again:
        assert again.ready["key"] is None
        served = await request(again.url, "POST", "/v1/messages", key_headers(key), messages_body())
        assert served.status == 200
        rows = {str(row["entry_id"]): row for row in await rows_once(database_url(data_dir), 3)}
        verified = await asyncio.to_thread(again.command, "ledger", "verify")
    assert len(rows) == verified["entries"] == 3
    estimated = rows[cut.header("x-gateway-request-id")]
    assert estimated["usage_source"] == "estimated"
    assert estimated["amount_usd"] > 0
    exact = rows[whole.header("x-gateway-request-id")]
    assert exact["usage_source"] == "exact"
    assert exact["amount_usd"] == ANTHROPIC_STREAM.amount_usd
    answered = rows[served.header("x-gateway-request-id")]
    assert answered["amount_usd"] == ANTHROPIC_TEXT.amount_usd


async def test_a_termination_lets_the_stream_end_and_posts_it(data_dir, provider):
    gateway = await start(data_dir, provider)
    provider.will(playing(ANTHROPIC_STREAM, interval_s=INTERVAL_S))
    async with streaming(gateway, gateway.key) as (connection, answer):
        gateway.signal(signal.SIGTERM)
        await asyncio.sleep(INTERVAL_S * 2)
        with pytest.raises(ConnectionError):
            await request(gateway.url, "GET", "/readyz")
        await connection.rest(answer)
    assert answer.is_whole
    assert answer.body == ANTHROPIC_STREAM.body
    assert await asyncio.to_thread(gateway.wait) == 0
    gateway.__exit__()
    # What clients say, and what opens doors, is in no log line.
    for secret in (gateway.key, PROVIDER_CREDENTIAL, "Grüezi", "balances"):
        assert secret not in gateway.log
    assert "request.settled" in gateway.log

    def rows_at_rest():
        with EmbeddedPostgres(data_dir) as server:
            return asyncio.run(rows_once(server.url(), 1))

    (entry,) = await asyncio.to_thread(rows_at_rest)
    assert entry["amount_usd"] == ANTHROPIC_STREAM.amount_usd


async def test_a_second_termination_ends_at_once(data_dir, provider):
    gateway = await start(data_dir, provider)
    postgres_pid = gateway.postgres_pid
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=5))
    async with streaming(gateway, gateway.key) as (connection, answer):
        gateway.signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        gateway.signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait, 5) != 0
        await connection.rest(answer)
    assert not answer.is_whole
    await asyncio.to_thread(wait_until_gone, postgres_pid, GONE_WITHIN_S)
    gateway.__exit__()


async def test_a_thousand_clients_that_connect_at_once_are_all_taken(data_dir, provider):
    """While the gateway is busy elsewhere; who is turned away asks again only after a second."""
    gateway = await start(data_dir, provider)
    gateway.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            asked = [group.create_task(request(gateway.url, "GET", "/livez")) for _ in range(1000)]
            await asyncio.sleep(0.5)
            assert waiting_to_connect(gateway.url) == 0
            gateway.signal(signal.SIGCONT)
    finally:
        gateway.signal(signal.SIGCONT)
        gateway.__exit__()
    assert {task.result().status for task in asked} == {200}


def waiting_to_connect(url):
    """Connections of ours to that port whose SYN has no answer."""
    port = int(url.rpartition(":")[2])
    return sum(
        connection.status == psutil.CONN_SYN_SENT and connection.raddr.port == port
        for connection in psutil.Process().net_connections("tcp")
    )
