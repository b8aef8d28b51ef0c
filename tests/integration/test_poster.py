"""The poster between a journal on disk and a real PostgreSQL."""

import asyncio
from uuid import uuid4

import pytest
import structlog

from gateway.domain.ids import TeamId
from gateway.domain.usage import Usage
from gateway.ledger.journal import Journal
from gateway.ledger.poster import Poster
from gateway.postgres.connection import DedicatedConnection
from tests.fakes.holds import hold_of
from tests.fakes.ledger import assert_balanced, consumed, dead_letters, lease, usd
from tests.fakes.settlements import settlement

pytestmark = pytest.mark.alone


class Heard:
    """What the poster told its listener."""

    def __init__(self) -> None:
        self.entries = []
        self.totals = {}
        self.leased = 0
        self.fails = False

    def __call__(self, totals, entries) -> None:
        self.entries += entries
        for total in totals:
            self.totals[total.team_id] = total.spend_usd
            self.leased += total.leased_usd
        if self.fails:
            raise RuntimeError("a bug of the listener")


@pytest.fixture
async def journal(tmp_path):
    journal = Journal(tmp_path / "journal", writer_id=uuid4(), segment_bytes_max=64 << 10)
    journal.open()
    yield journal
    await journal.close()


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
async def poster(journal, database_url, heard):
    connection = DedicatedConnection(database_url, application_name="tests-poster")
    poster = Poster(
        connection=connection,
        reader=journal.reader("ledger"),
        writer_id=journal.writer_id,
        on_posted=heard,
    )
    yield poster
    await poster.close()
    await connection.close()


def write(journal, count, **changes):
    written = [settlement(**changes) for _ in range(count)]
    for one in written:
        journal.append_hold(hold_of(one))
        journal.append_settlement(one)
    return written


async def test_what_is_written_is_posted_within_a_second_and_told(journal, poster, heard, database):
    await poster.start()
    written = write(journal, 20)
    async with asyncio.timeout(1):
        while poster.posted_count < 20:
            await asyncio.sleep(0.01)
    await assert_balanced(database, written)
    assert heard.entries == [s.entry for s in written]
    assert heard.totals == {7: usd(written)}
    assert not poster.is_failing


async def test_a_quiet_poster_gathers_a_batch_and_does_not_post_each_row(journal, poster):
    await poster.start()
    for _ in range(100):
        write(journal, 1)
        await asyncio.sleep(0.002)
    assert await poster.drain(5)
    assert poster.posted_count == 100
    assert poster.batch_count <= 20


async def test_a_backlog_of_many_batches_is_posted_in_order(journal, poster, heard, database):
    written = write(journal, 1700)
    await poster.start()
    assert await poster.drain(20)
    assert heard.entries == [s.entry for s in written]
    await assert_balanced(database, written)
    await journal.sync()
    assert journal.backlog_bytes <= 64 << 10, "segments go once they are posted"


async def test_leases_are_consumed_once_and_told(journal, poster, heard, database):
    await lease(database, journal.writer_id, 7)
    written = write(journal, 5) + write(journal, 5, is_leased=False)
    await poster.start()
    assert await poster.drain(5)
    assert await consumed(database, journal.writer_id) == {7: usd(written[:5])}
    assert heard.leased == usd(written[:5])


async def test_poison_among_good_rows_is_a_dead_letter_and_is_acked(
    journal, poster, heard, database
):
    good = write(journal, 10)
    bad = write(journal, 1, usage=Usage(output_tokens=-1))
    good += write(journal, 10)
    with structlog.testing.capture_logs() as logs:
        await poster.start()
        assert await poster.drain(5)
    await assert_balanced(database, good)
    (letter,) = await dead_letters(database)
    assert letter["entry_id"] == str(bad[0].entry.entry_id)
    assert (poster.posted_count, poster.dead_count, poster.failure_count) == (20, 1, 0)
    assert bad[0].entry not in heard.entries
    assert [log["event"] for log in logs] == ["poster.dead_letter"]


async def test_a_listener_that_fails_does_not_stop_or_repeat_the_posting(
    journal, poster, heard, database
):
    heard.fails = True
    await poster.start()
    with structlog.testing.capture_logs() as logs:
        written = write(journal, 3)
        assert await poster.drain(5)
        written += write(journal, 3)
        assert await poster.drain(5)
    assert {log["event"] for log in logs} == {"poster.listener_failed"}
    assert heard.entries == [s.entry for s in written]
    await assert_balanced(database, written)


async def test_a_drain_that_has_nothing_to_do_is_over_at_once(poster):
    await poster.start()
    async with asyncio.timeout(0.5):
        assert await poster.drain(5)


async def test_a_poster_that_is_closed_leaves_the_rest_in_the_journal(journal, poster):
    await poster.start()
    await poster.close()
    write(journal, 3)
    assert not await poster.drain(0.1)
    assert poster.posted_count == 0


async def test_a_closed_and_restarted_poster_counts_nothing_twice(journal, poster, database):
    written = []
    for _ in range(10):
        await poster.start()
        written += write(journal, 30, team_id=TeamId(3))
        await asyncio.sleep(0.003)
        await poster.close()
    await poster.start()
    assert await poster.drain(5)
    await assert_balanced(database, written)


async def test_a_schema_that_is_not_there_yet_costs_no_row_and_no_letter(journal, poster, database):
    await database.execute("ALTER FUNCTION ledger.post_entries RENAME TO later")
    await poster.start()
    written = write(journal, 3)
    async with asyncio.timeout(5):
        while poster.failure_count < 3:
            await asyncio.sleep(0.01)
    assert poster.is_failing
    assert await dead_letters(database) == []
    await database.execute("ALTER FUNCTION ledger.later RENAME TO post_entries")
    assert await poster.drain(5)
    assert not poster.is_failing
    await assert_balanced(database, written)


async def test_backends_that_are_killed_mid_flush_lose_and_repeat_nothing(
    journal, poster, database
):
    await lease(database, journal.writer_id, 7)
    await poster.start()
    written = []
    for _ in range(30):
        written += write(journal, 40)
        await asyncio.sleep(0.01)
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'tests-poster' AND datname = current_database()"
        )
    assert await poster.drain(20)
    assert poster.failure_count > 0
    assert await consumed(database, journal.writer_id) == {7: usd(written)}
    await assert_balanced(database, written)
