"""Several workers under one parent: crashes, replacement under load, signals, the parent's death."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.fakes.provider import FakeProvider, playing
from tests.fakes.raw_client import connected, request
from tests.fakes.transcripts import ANTHROPIC_STREAM
from tests.fixtures.gateway import messages_body
from tests.fixtures.process import GatewayProcess, wait_until_gone

GONE_WITHIN_S = 3.0
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def provider():
    async with FakeProvider() as fake:
        yield fake


async def start(data_dir, provider, workers=2):
    return await asyncio.to_thread(
        GatewayProcess,
        data_dir,
        "--demo",
        "--workers",
        str(workers),
        GATEWAY_ANTHROPIC_BASE_URL=provider.anthropic_base_url,
    )


def key_headers(key):
    return [("x-api-key", key), ("content-type", "application/json")]


def worker_pids(gateway):
    parent = gateway.pid
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(stat[1]) == parent and b"worker" in command and stat[0] != "Z":
            found.append(int(entry.name))
    return sorted(found)


async def wait_for_workers(gateway, without, count=2, timeout_s=40.0):
    async with asyncio.timeout(timeout_s):
        while True:
            pids = worker_pids(gateway)
            if len(pids) == count and not set(pids) & set(without):
                return pids
            await asyncio.sleep(0.1)


async def call(gateway):
    return await request(
        gateway.url, "POST", "/v1/messages", key_headers(gateway.key), messages_body()
    )


async def test_a_worker_that_is_killed_comes_back_and_its_metrics_join_the_others(
    tmp_path, provider
):
    with await start(tmp_path / "data", provider) as gateway:
        old = worker_pids(gateway)
        assert len(old) == 2
        os.kill(old[0], signal.SIGKILL)
        # The other one takes what comes meanwhile.
        answers = [await call(gateway) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        await wait_for_workers(gateway, without=[old[0]])
        assert (await call(gateway)).status == 200
        metrics = await request(gateway.ready["admin_url"], "GET", "/metrics", [])
        line = next(
            line
            for line in metrics.body.decode().splitlines()
            if line.startswith("gateway_requests_total{")
        )
        assert float(line.rpartition(" ")[2]) >= 4
        verified = await asyncio.to_thread(gateway.command, "ledger", "verify")
        assert verified["balanced"]
        assert "workers.died" in gateway.log


async def test_workers_are_replaced_under_load_and_no_request_is_dropped(tmp_path, provider):
    with await start(tmp_path / "data", provider) as gateway:
        old = worker_pids(gateway)
        is_done = asyncio.Event()
        statuses = []

        async def keep_calling():
            while not is_done.is_set():
                statuses.append((await call(gateway)).status)

        callers = [asyncio.create_task(keep_calling()) for _ in range(4)]
        gateway.signal(signal.SIGHUP)
        await wait_for_workers(gateway, without=old)
        is_done.set()
        await asyncio.gather(*callers)
        assert len(statuses) > 10
        assert set(statuses) == {200}


async def test_a_stream_outlives_the_worker_that_is_replaced(tmp_path, provider):
    with await start(tmp_path / "data", provider) as gateway:
        old = worker_pids(gateway)
        provider.will(playing(ANTHROPIC_STREAM, interval_s=0.5))
        async with connected(gateway.url) as connection:
            connection.send(
                "POST", "/v1/messages", key_headers(gateway.key), messages_body(stream=True)
            )
            answer = await connection.head()
            gateway.signal(signal.SIGHUP)
            await connection.rest(answer)
        assert answer.is_whole
        assert answer.body == ANTHROPIC_STREAM.body
        await wait_for_workers(gateway, without=old)


async def test_the_parents_death_ends_its_workers_and_its_postgresql(tmp_path, provider):
    gateway = await start(tmp_path / "data", provider)
    pids = [*worker_pids(gateway), gateway.postgres_pid]
    assert (await call(gateway)).status == 200
    await asyncio.to_thread(gateway.kill)
    for pid in pids:
        await asyncio.to_thread(wait_until_gone, pid, GONE_WITHIN_S)
    with await start(tmp_path / "data", provider) as again:
        assert again.ready["key"] is None


async def test_termination_drains_streams_and_a_second_one_ends_them(tmp_path, provider):
    gateway = await start(tmp_path / "data", provider)
    provider.will(playing(ANTHROPIC_STREAM, interval_s=0.05))
    async with connected(gateway.url) as connection:
        connection.send(
            "POST", "/v1/messages", key_headers(gateway.key), messages_body(stream=True)
        )
        answer = await connection.head()
        gateway.signal(signal.SIGTERM)
        await connection.rest(answer)
    assert answer.body == ANTHROPIC_STREAM.body
    assert await asyncio.to_thread(gateway.wait) == 0
    gateway.__exit__()

    gateway = await start(tmp_path / "other", provider)
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=3))
    async with connected(gateway.url) as connection:
        connection.send(
            "POST", "/v1/messages", key_headers(gateway.key), messages_body(stream=True)
        )
        answer = await connection.head()
        gateway.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        gateway.signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait, 5) != 0
        await connection.rest(answer)
    assert not answer.is_whole
    gateway.__exit__()
