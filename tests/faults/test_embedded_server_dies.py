"""The embedded PostgreSQL dies while its gateway lives: it is started again, and never beside itself."""

import asyncio
import os
import signal
import threading
import time

import asyncpg
import psutil
import pytest

from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.keeper import kept_alive
from tests.fakes.provider import FakeProvider
from tests.fakes.raw_client import request
from tests.fixtures.gateway import messages_body
from tests.fixtures.process import GatewayProcess, wait_until_gone

pytestmark = pytest.mark.timeout(120)


def postmaster(data_dir):
    path = data_dir / "postgres/cluster/postmaster.pid"
    return int(path.read_text().split()[0])


async def connected_again(url, timeout_s=30):
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await asyncpg.connect(url)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)


async def test_a_server_that_was_killed_is_started_again_with_its_rows(tmp_path):
    server = EmbeddedPostgres(tmp_path)
    await asyncio.to_thread(server.start)
    try:
        with kept_alive(server):
            connection = await asyncpg.connect(server.url())
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            for _ in range(2):
                os.kill(postmaster(tmp_path), signal.SIGKILL)
                connection.terminate()
                await asyncio.sleep(0.2)
                connection = await connected_again(server.url())
                assert await connection.fetchval("SELECT one FROM kept") == 1
            await connection.close()
    finally:
        await asyncio.to_thread(server.stop)
    assert not (tmp_path / "postgres/cluster/postmaster.pid").exists()


async def test_no_second_server_starts_beside_a_session_of_the_first(tmp_path):
    """Goal: two servers never write to one cluster.

    Method: a session that is stopped cannot see that its server has died.
    """
    server = EmbeddedPostgres(tmp_path)
    await asyncio.to_thread(server.start)
    try:
        with kept_alive(server):
            connection = await asyncpg.connect(server.url())
            session = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
            old = postmaster(tmp_path)
            session.suspend()
            os.kill(old, signal.SIGKILL)
            await asyncio.sleep(1.0)
            with pytest.raises(OSError):
                await asyncpg.connect(server.url())
            session.resume()
            await (await connected_again(server.url())).close()
            # Its parent is gone: whoever adopted it may be slow to bury it.
            assert not session.is_running() or session.status() == psutil.STATUS_ZOMBIE
            assert postmaster(tmp_path) != old
            connection.terminate()
    finally:
        await asyncio.to_thread(server.stop)


async def test_the_end_of_the_gateway_does_not_wait_for_a_server_that_cannot_start(tmp_path):
    server = EmbeddedPostgres(tmp_path)
    await asyncio.to_thread(server.start)
    with kept_alive(server):
        (tmp_path / "postgres/cluster/PG_VERSION").write_text("9\n")
        os.kill(postmaster(tmp_path), signal.SIGKILL)
        await asyncio.sleep(0.5)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 1
    server.stop()
    assert "postgres-keeper" not in {thread.name for thread in threading.enumerate()}


async def test_requests_go_on_while_it_is_away_and_their_entries_come_after(tmp_path):
    async with FakeProvider() as provider:
        gateway = await asyncio.to_thread(
            GatewayProcess,
            tmp_path / "data",
            "--demo",
            GATEWAY_ANTHROPIC_BASE_URL=provider.anthropic_base_url,
            GATEWAY_ANTHROPIC_API_KEY="sk-ant-the-providers-own",
        )
        headers = [("x-api-key", gateway.key), ("content-type", "application/json")]
        url = EmbeddedPostgres(tmp_path / "data").url()
        with gateway:
            answer = await request(gateway.url, "POST", "/v1/messages", headers, messages_body())
            assert answer.status == 200
            pid = gateway.postgres_pid
            os.kill(pid, signal.SIGKILL)
            statuses = []
            for _ in range(20):
                answer = await request(
                    gateway.url, "POST", "/v1/messages", headers, messages_body()
                )
                statuses.append(answer.status)
            assert statuses == [200] * 20
            await asyncio.to_thread(wait_until_gone, pid, 3)
            connection = await connected_again(url)
            async with asyncio.timeout(20):
                while await connection.fetchval("SELECT count(*) FROM ledger.ledger_entry") < 21:
                    await asyncio.sleep(0.05)
            await connection.close()
            verified = await asyncio.to_thread(gateway.command, "ledger", "verify")
            assert verified["balanced"]
            assert verified["entries"] == 21
