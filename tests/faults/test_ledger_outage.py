"""PostgreSQL stops, hangs, refuses, talks rubbish or loses its answers: the journal keeps all."""

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import psutil
import pytest

from gateway.ledger.journal import Journal
from gateway.ledger.poster import Poster
from gateway.postgres.connection import DedicatedConnection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.migrate import upgrade
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.holds import hold_of
from tests.fakes.ledger import assert_balanced, consumed, dead_letters, lease, usd
from tests.fakes.settlements import settlement

pytestmark = pytest.mark.alone


class Worker:
    """A journal that is written to all the time, and its poster."""

    def __init__(self, directory, url):
        self.journal = Journal(directory, writer_id=uuid4(), segment_bytes_max=16 << 10)
        self.journal.open()
        self.connection = DedicatedConnection(url, application_name="tests-outage")
        self.posted = []
        self.written = []
        self.poster = Poster(
            connection=self.connection,
            reader=self.journal.reader("ledger"),
            writer_id=self.journal.writer_id,
            on_posted=lambda _totals, entries: self.posted.extend(entries),
            post_timeout_s=0.3,
        )

    async def serve(self, seconds):
        """Write a request's end every few milliseconds; none of it waits for the database."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        while loop.time() < end_s:
            one = settlement()
            started_s = loop.time()
            self.journal.append_hold(hold_of(one))
            self.journal.append_settlement(one)
            assert loop.time() - started_s < 0.1
            self.written.append(one)
            await asyncio.sleep(0.004)

    async def close(self):
        await self.poster.close()
        await self.connection.close()
        await self.journal.close()


@asynccontextmanager
async def worker_at(directory, url):
    worker = Worker(directory, url)
    await worker.poster.start()
    try:
        yield worker
    finally:
        await worker.close()


@pytest.fixture
async def proxy(database_url):
    async with FlakyTcp.before_postgres(database_url) as proxy:
        yield proxy


@pytest.fixture
async def worker(tmp_path, proxy, database_url, database):
    async with worker_at(tmp_path / "journal", proxy.postgres_url(database_url)) as worker:
        await lease(database, worker.journal.writer_id, 7)
        yield worker


async def assert_healed(worker, database):
    """The backlog drains, in order, once, and the lease is charged for it once."""
    assert await worker.poster.drain(20)
    await assert_balanced(database, worker.written)
    assert worker.posted == [s.entry for s in worker.written]
    assert await consumed(database, worker.journal.writer_id) == {7: usd(worker.written)}
    assert await dead_letters(database) == []
    assert not worker.poster.is_failing


OUTAGES = ["freeze", "drop_answers", "cut", "refuse"]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_loses_and_repeats_nothing(worker, proxy, database, outage):
    await worker.serve(0.15)
    getattr(proxy, outage)()
    await worker.serve(0.8)
    if outage != "cut":
        assert worker.poster.is_failing
        assert len(worker.posted) < len(worker.written)
    await proxy.restore()
    await worker.serve(0.1)
    await assert_healed(worker, database)


async def test_outages_of_all_kinds_one_after_the_other(worker, proxy, database):
    for outage in OUTAGES * 2:
        getattr(proxy, outage)()
        await worker.serve(0.2)
        await proxy.restore()
        await worker.serve(0.05)
    await assert_healed(worker, database)


async def test_commits_whose_answers_are_lost_are_sent_again_and_counted_once(
    worker, proxy, database
):
    await worker.serve(0.2)
    for _ in range(4):
        proxy.drop_answers()
        await worker.serve(0.4)
        proxy.cut()
        await proxy.restore()
        await worker.serve(0.1)
    assert proxy.dropped_bytes > 0
    assert worker.poster.failure_count >= 4
    await assert_healed(worker, database)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I" + b"\xff" * 64, b""],
    ids=["another protocol", "nonsense after a handshake", "end of file"],
)
async def test_something_else_that_answers_on_the_port_is_survived(worker, proxy, database, answer):
    await worker.serve(0.1)
    proxy.refuse()

    async def talk(reader, writer):
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", proxy.port):
        await worker.serve(0.5)
    assert worker.poster.is_failing
    await proxy.restore()
    await assert_healed(worker, database)


async def test_a_read_only_database_is_waited_for(worker, proxy, database):
    await worker.serve(0.1)
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    proxy.cut()
    await worker.serve(0.4)
    assert worker.poster.is_failing
    await database.execute("SET default_transaction_read_only = off")
    await database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    # The connection that was refused is not kept: a failover would be behind it.
    await assert_healed(worker, database)


@pytest.fixture
async def writer_login(administrator):
    """A login with the writer's rights alone."""
    administrator.execute("CREATE ROLE outage_writer LOGIN IN ROLE gateway_writer")
    yield "outage_writer"
    administrator.execute("DROP ROLE outage_writer")


async def test_a_server_without_a_free_connection_is_waited_for(
    tmp_path, proxy, database_url, database, writer_login
):
    url = proxy.postgres_url(database_url).replace("gateway@", f"{writer_login}@")
    async with worker_at(tmp_path / "journal", url) as worker:
        await lease(database, worker.journal.writer_id, 7)
        await worker.serve(0.1)
        await database.execute(f"ALTER ROLE {writer_login} CONNECTION LIMIT 0")
        proxy.cut()
        await worker.serve(0.3)
        assert worker.poster.is_failing
        await database.execute(f"ALTER ROLE {writer_login} CONNECTION LIMIT -1")
        await assert_healed(worker, database)


async def test_a_total_that_somebody_locks_is_waited_for(worker, database):
    await worker.serve(0.1)
    async with database.transaction():
        await database.execute("LOCK ledger.team_month_spend")
        await worker.serve(0.8)
        assert worker.poster.is_failing
    await assert_healed(worker, database)


async def test_a_server_that_is_stopped_and_killed_and_comes_back(tmp_path):
    server = EmbeddedPostgres(tmp_path / "data")
    server.start()
    try:
        await asyncio.to_thread(upgrade, server.url())
        async with worker_at(tmp_path / "journal", server.url()) as worker:
            database = await connect(server.url(), application_name="tests")
            await lease(database, worker.journal.writer_id, 7)
            await database.close()
            for is_killed in (False, True):
                await worker.serve(0.1)
                if is_killed:
                    (postmaster,) = (
                        child
                        for child in psutil.Process(server._server._process.pid).children()
                        if child.name() == "postgres"
                    )
                    postmaster.kill()
                await asyncio.to_thread(server.stop)
                await worker.serve(0.5)
                assert worker.poster.is_failing
                await asyncio.to_thread(server.start)
            await worker.serve(0.1)
            database = await connect(server.url(), application_name="tests")
            await assert_healed(worker, database)
            await database.close()
    finally:
        server.stop()
