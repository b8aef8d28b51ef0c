"""What dead writers left: settled, estimated, ended, removed; once, whoever does it and how often."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
import structlog

from gateway.domain.usage import Usage
from gateway.ledger.journal import Journal
from gateway.ledger.journal_files import segments_of, take_over
from gateway.ledger.posting import post
from gateway.ledger.recovery import Recovery
from gateway.ledger.segment import SETTLEMENT, encode_frame
from gateway.postgres.connection import DedicatedConnection
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.holds import hold_of
from tests.fakes.ledger import (
    MONTH,
    assert_balanced,
    consumed,
    dead_letters,
    entry_ids,
    lease,
    rows,
    usd,
)
from tests.fakes.settlements import settlement

HOLD_USD = Decimal("0.05")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
async def make_recovery(directory, database_url, clock):
    connections = []

    def make(url=database_url, **parts):
        connections.append(DedicatedConnection(url, application_name="tests-recovery"))
        return Recovery(directory, connection=connections[-1], clock=clock, **parts)

    yield make
    for connection in connections:
        await connection.close()


@pytest.fixture
def recovery(make_recovery):
    return make_recovery()


async def dead_writer(
    directory, *, settled=0, held=0, released=0, segment_bytes_max=4000, **changes
):
    """A journal whose writer is gone; returns its id, what it settled, and what it held."""
    journal = Journal(directory, writer_id=uuid4(), segment_bytes_max=segment_bytes_max)
    journal.open()
    journal.reader("ledger")
    ended = [settlement(**changes) for _ in range(settled)]
    running = [settlement(**changes) for _ in range(held + released)]
    for one in [*running, *ended]:
        journal.append_hold(hold_of(one))
    for one in ended:
        journal.append_settlement(one)
    for one in running[held:]:
        journal.append_release(one.entry.entry_id)
    await journal.close()
    return journal.writer_id, ended, running[:held]


def files(directory):
    return sorted(path.name for path in directory.iterdir())


async def states(database, writer_id):
    found = await database.fetch(
        "SELECT state FROM ledger.budget_lease WHERE writer_id = $1", writer_id
    )
    return {row["state"] for row in found}


async def test_settlements_are_posted_holds_estimated_leases_ended_files_removed(
    directory, recovery, database
):
    writer_id, ended, running = await dead_writer(directory, settled=30, held=4, released=3)
    await lease(database, writer_id, 7)
    report = await recovery.run_once()
    assert (report.writer_count, report.posted_count, report.estimated_count) == (1, 34, 4)
    assert (report.failed_count, report.dead_count, report.torn_tail_count) == (0, 0, 0)
    assert await entry_ids(database) == sorted(s.entry.entry_id for s in ended + running)
    estimates = await rows(database, where="usage_source = 'estimated'")
    assert {row["entry_id"] for row in estimates} == {s.entry.entry_id for s in running}
    for row in estimates:
        assert row["amount_usd"] == row["request_amount_usd"] == row["hold_usd"] == HOLD_USD
        assert row["price_version"] == "hold"
        assert row["month"] == MONTH
        assert row["output_tokens"] == 0
        assert row["http_status"] == 0
    assert await consumed(database, writer_id) == {7: usd(ended) + 4 * HOLD_USD}
    assert await states(database, writer_id) == {"closed"}
    assert files(directory) == []


async def test_every_hold_is_estimated_however_many(directory, recovery, database):
    _, _, running = await dead_writer(directory, held=1_100, segment_bytes_max=1 << 20)
    report = await recovery.run_once()
    assert (report.posted_count, report.estimated_count) == (1_100, 1_100)
    assert await entry_ids(database) == sorted(s.entry.entry_id for s in running)


async def test_a_second_run_finds_nothing_to_do(directory, recovery, database):
    await dead_writer(directory, settled=3, held=1)
    await recovery.run_once()
    before = await entry_ids(database)
    report = await recovery.run_once()
    assert report == type(report)()
    assert await entry_ids(database) == before


async def test_an_empty_or_missing_directory_is_nothing(directory, recovery):
    report = await recovery.run_once()
    assert report == type(report)()
    directory.mkdir()
    assert await recovery.run_once() == report


async def test_a_writer_that_lives_is_left_alone(directory, recovery, database):
    journal = Journal(directory, writer_id=uuid4())
    journal.open()
    journal.append_hold(hold_of(settlement()))
    journal.append_settlement(settlement())
    report = await recovery.run_once()
    assert report == type(report)()
    assert await entry_ids(database) == []
    await journal.close()
    assert (await recovery.run_once()).posted_count == 2


async def test_many_dead_writers_are_all_finished(directory, recovery, database):
    left = [await dead_writer(directory, settled=2, held=1) for _ in range(6)]
    report = await recovery.run_once()
    assert (report.writer_count, report.posted_count, report.estimated_count) == (6, 18, 6)
    everything = [s for _, ended, running in left for s in ended + running]
    assert await entry_ids(database) == sorted(s.entry.entry_id for s in everything)


async def test_six_recoveries_at_once_do_it_once(directory, make_recovery, database):
    left = [await dead_writer(directory, settled=20, held=2) for _ in range(4)]
    for writer_id, _, _ in left:
        await lease(database, writer_id, 7)
    reports = await asyncio.gather(*(make_recovery().run_once() for _ in range(6)))
    assert sum(report.writer_count for report in reports) == 4
    assert sum(report.posted_count for report in reports) == 88
    assert sum(report.failed_count for report in reports) == 0
    for writer_id, ended, _ in left:
        assert await consumed(database, writer_id) == {7: usd(ended) + 2 * HOLD_USD}
    assert files(directory) == []


async def test_what_was_posted_before_the_death_is_not_counted_again(
    directory, recovery, make_recovery, database, database_url
):
    writer_id, ended, _ = await dead_writer(directory, settled=10)
    connection = DedicatedConnection(database_url, application_name="tests")
    await post(connection, writer_id, [s.entry for s in ended[:6]], timeout_s=5)
    await connection.close()
    report = await recovery.run_once()
    assert report.posted_count == 4
    await assert_balanced(database, ended)


async def test_the_truth_that_only_memory_had_is_not_estimated(
    directory, recovery, database, database_url
):
    """While its disk was full a writer posted settlements that its journal never got."""
    writer_id, _, running = await dead_writer(directory, held=3)
    connection = DedicatedConnection(database_url, application_name="tests")
    await post(connection, writer_id, [running[0].entry], timeout_s=5)
    await connection.close()
    report = await recovery.run_once()
    assert report.estimated_count == 2
    exact = await rows(database, "entry_id", "usage_source = 'exact'")
    assert [row["entry_id"] for row in exact] == [running[0].entry.entry_id]


async def test_a_truth_that_comes_after_the_estimate_supersedes_it_once(
    directory, recovery, database
):
    _, _, running = await dead_writer(directory, held=1)
    await recovery.run_once()
    for _ in range(2):
        journal = Journal(directory, writer_id=uuid4())
        journal.open()
        journal.append_settlement(running[0])
        await journal.close()
        await recovery.run_once()
    assert sum(row["amount_usd"] for row in await rows(database)) == usd(running)
    assert len(await rows(database)) == 2


async def test_a_torn_tail_is_cut_and_reported(directory, recovery, database):
    writer_id, ended, _ = await dead_writer(directory, settled=3)
    last = segments_of(directory, writer_id)[-1]
    os.truncate(last, last.stat().st_size - 5)
    report = await recovery.run_once()
    assert report.torn_tail_count == 1
    assert report.corrupt_segment_count == 0
    assert (report.posted_count, report.estimated_count) == (3, 1)
    (estimate,) = await rows(database, where="usage_source = 'estimated'")
    assert estimate["entry_id"] == ended[-1].entry.entry_id
    assert await dead_letters(database) == []
    assert files(directory) == []


async def test_a_tail_of_zeros_as_a_power_failure_leaves_it_is_a_torn_one(
    directory, recovery, database
):
    writer_id, ended, _ = await dead_writer(directory, settled=2)
    with segments_of(directory, writer_id)[-1].open("ab") as segment:
        segment.write(b"\0" * 4096)
    report = await recovery.run_once()
    assert (report.torn_tail_count, report.corrupt_segment_count) == (1, 0)
    await assert_balanced(database, ended)


async def damage(directory, writer_id, of):
    """Flip a byte of the settlement with this id."""
    for path in segments_of(directory, writer_id):
        content = bytearray(path.read_bytes())
        at = content.rfind(f'"{of}"'.encode())
        if at > 0 and b" S [[" in content[max(0, at - 30) : at]:
            content[at + 60] ^= 0x55
            path.write_bytes(content)
            return path
    raise AssertionError("there is no such settlement")


async def test_a_corrupt_middle_is_quarantined_and_a_dead_letter_and_costs_one_record(
    directory, recovery, make_recovery, database
):
    writer_id, ended, _ = await dead_writer(directory, settled=20, segment_bytes_max=64 << 10)
    bad = ended[9]
    path = await damage(directory, writer_id, bad.entry.entry_id)
    with structlog.testing.capture_logs() as logs:
        report = await recovery.run_once()
    assert report.corrupt_segment_count == 1
    assert (report.posted_count, report.estimated_count) == (20, 1)
    (estimate,) = await rows(database, where="usage_source = 'estimated'")
    assert estimate["entry_id"] == bad.entry.entry_id
    assert files(directory) == [path.with_suffix(".corrupt").name]
    (letter,) = await dead_letters(database)
    assert letter["error"].startswith(f"unreadable record in {path.stem}.corrupt at offset")
    assert str(bad.entry.entry_id) in letter["payload"]
    assert letter["writer_id"] == str(writer_id)
    assert "recovery.corrupt" in [log["event"] for log in logs]
    # The evidence stays; other workers see it, too, and the letter is kept once.
    with structlog.testing.capture_logs():
        await make_recovery().run_once()
    assert len(await dead_letters(database)) == 1
    assert files(directory) == [path.with_suffix(".corrupt").name]


async def test_a_record_of_an_unknown_kind_of_content_is_quarantined(directory, recovery, database):
    writer_id, ended, _ = await dead_writer(directory, settled=2)
    with segments_of(directory, writer_id)[0].open("ab") as segment:
        segment.write(encode_frame(SETTLEMENT, b'{"from":"the future"}'))
    with structlog.testing.capture_logs():
        report = await recovery.run_once()
    assert report.corrupt_segment_count == 1
    await assert_balanced(database, ended)
    (letter,) = await dead_letters(database)
    assert "the future" in letter["payload"]


async def test_poison_in_a_dead_journal_is_a_dead_letter_and_the_rest_posts(
    directory, recovery, database
):
    await dead_writer(directory, settled=2, usage=Usage(output_tokens=-1))
    _, ended, _ = await dead_writer(directory, settled=5)
    with structlog.testing.capture_logs():
        report = await recovery.run_once()
    assert (report.writer_count, report.posted_count, report.dead_count) == (2, 5, 2)
    await assert_balanced(database, ended)
    assert len(await dead_letters(database)) == 2
    assert files(directory) == []


async def test_a_journal_that_cannot_be_read_does_not_hold_up_the_others(
    directory, recovery, database
):
    directory.mkdir()
    unreadable = directory / f"{UUID(int=0)}.00000001.segment"
    unreadable.mkdir()
    left = [await dead_writer(directory, settled=3) for _ in range(2)]
    writer_id, _, _ = left[0]
    await damage(directory, writer_id, left[0][1][0].entry.entry_id)
    (directory / "00000000-0000-0000-0000-000000000001.00000001.corrupt").mkdir()
    with structlog.testing.capture_logs():
        report = await recovery.run_once()
    assert (report.writer_count, report.failed_count) == (2, 1)
    assert unreadable.exists()
    assert len(await entry_ids(database)) == 6
    assert len(await dead_letters(database)) == 1


@pytest.mark.parametrize("outage", ["freeze", "drop_answers", "refuse"])
async def test_a_recovery_without_a_database_is_done_by_a_later_run(
    directory, make_recovery, database, database_url, outage
):
    left = [await dead_writer(directory, settled=30, held=1) for _ in range(3)]
    async with FlakyTcp.before_postgres(database_url) as proxy:
        recovery = make_recovery(proxy.postgres_url(database_url), timeout_s=0.3)
        getattr(proxy, outage)()
        with structlog.testing.capture_logs() as logs:
            report = await recovery.run_once()
        assert report.writer_count == 0
        assert report.failed_count == 1, "the others are not even tried: it would be as long a wait"
        assert [log["event"] for log in logs] == ["recovery.failed"]
        proxy.cut()
        await proxy.restore()
        report = await recovery.run_once()
    assert (report.writer_count, report.failed_count) == (3, 0)
    everything = [s for _, ended, running in left for s in ended + running]
    assert await entry_ids(database) == sorted(s.entry.entry_id for s in everything)
    assert files(directory) == []


async def test_a_recovery_that_dies_anywhere_is_done_again(directory, make_recovery, database):
    """Cancelled after a while that grows, until one gets to its end."""
    left = [await dead_writer(directory, settled=120, held=9) for _ in range(2)]
    for writer_id, _, _ in left:
        await lease(database, writer_id, 7)
    cancelled = 0
    allowed_s = 0.002
    while files(directory):
        with structlog.testing.capture_logs():
            try:
                async with asyncio.timeout(allowed_s):
                    await make_recovery().run_once()
            except TimeoutError:
                cancelled += 1
                allowed_s *= 1.15
    assert cancelled > 3
    everything = [s for _, ended, running in left for s in ended + running]
    assert await entry_ids(database) == sorted(s.entry.entry_id for s in everything)
    for writer_id, ended, _ in left:
        assert await consumed(database, writer_id) == {7: usd(ended) + 9 * HOLD_USD}
        assert await states(database, writer_id) == {"closed"}


async def test_a_recovery_that_is_cancelled_keeps_no_lock(directory, make_recovery, database):
    """Its process may live on, and then nobody could ever finish that journal."""
    writer_id, _, _ = await dead_writer(directory, settled=1)
    for n in range(200):
        running = asyncio.create_task(make_recovery().run_once())
        await asyncio.sleep(n * 0.00001)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    # What a thread of a cancelled one still does, it has done by then.
    await asyncio.sleep(0.2)
    if files(directory):
        lock = take_over(directory, writer_id)
        assert lock is not None
        os.close(lock)


async def test_a_lease_does_not_end_before_what_stands_on_it_is_posted(
    directory, recovery, database
):
    """Others may be granted what is left of it, and not what the dead writer spent."""
    writer_id, ended, running = await dead_writer(directory, settled=3, held=2)
    await lease(database, writer_id, 7)
    await database.execute(
        "CREATE FUNCTION ledger.not_now() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'disk_full'; END $$; "
        "CREATE TRIGGER not_now BEFORE INSERT ON ledger.ledger_entry "
        "FOR EACH ROW EXECUTE FUNCTION ledger.not_now()"
    )
    with structlog.testing.capture_logs():
        assert (await recovery.run_once()).failed_count == 1
    assert await states(database, writer_id) == {"active"}
    await database.execute("DROP TRIGGER not_now ON ledger.ledger_entry")
    assert (await recovery.run_once()).posted_count == 5
    assert await states(database, writer_id) == {"closed"}
    assert await consumed(database, writer_id) == {7: usd(ended) + len(running) * HOLD_USD}


async def test_a_failed_recovery_frees_the_lock(directory, make_recovery, database_url):
    writer_id, _, _ = await dead_writer(directory, settled=1)
    with structlog.testing.capture_logs():
        report = await make_recovery("postgresql://gateway@127.0.0.1:9/none").run_once()
    assert report.failed_count == 1
    lock = take_over(directory, writer_id)
    assert lock is not None
    os.close(lock)


async def test_the_background_run_finishes_what_dies_meanwhile(directory, make_recovery, database):
    recovery = make_recovery(interval_s=0.05)
    await recovery.start()
    with structlog.testing.capture_logs() as logs:
        _, ended, _ = await dead_writer(directory, settled=3)
        async with asyncio.timeout(5):
            while len(await entry_ids(database)) < 3 or files(directory):
                await asyncio.sleep(0.02)
    await recovery.close()
    await assert_balanced(database, ended)
    (done,) = [log for log in logs if log["event"] == "recovery.done"]
    assert (done["writers"], done["posted"]) == (1, 3)


async def test_events_of_the_dead_go_through_the_living_and_the_ledger_counts_once(
    directory, make_recovery, database
):
    dead, ended, running = await dead_writer(directory, settled=5, held=1)
    living = Journal(directory, writer_id=uuid4())
    living.open()
    for writer_id in (dead, living.writer_id):
        await lease(database, writer_id, 7)
    ledger, events = living.reader("ledger"), living.reader("events")
    report = await make_recovery(journal=living).run_once()
    assert report.writer_count == 1
    # The dead one's lease has paid for it, and is over; ours is as it was.
    assert await consumed(database, dead) == {7: usd(ended) + HOLD_USD}
    assert await states(database, dead) == {"closed"}
    assert await consumed(database, living.writer_id) == {7: 0}
    assert await states(database, living.writer_id) == {"active"}
    heard = await events.next_batch(rows_max=100, wait_s=0)
    assert [s.entry.entry_id for s in heard] == [s.entry.entry_id for s in ended + running]
    assert heard[-1].generation.error == "worker_died"
    assert await ledger.next_batch(rows_max=100, wait_s=0) == []
    # The living dies, too, before its events went out: they are adopted once more.
    await living.close()
    heir = Journal(directory, writer_id=uuid4())
    heir.open()
    events = heir.reader("events")
    report = await make_recovery(journal=heir).run_once()
    assert (report.writer_count, report.posted_count) == (1, 0)
    assert len(await events.next_batch(rows_max=100, wait_s=0)) == 6
    events.ack(6)
    await heir.close()
    assert files(directory) == []
    assert len(await entry_ids(database)) == 6


class Told:
    """What a writer told its clients before it was killed."""

    def __init__(self, output):
        self.held, self.released, self.settled = set(), set(), {}
        # The last line may be cut: its record is in the journal all the same.
        for line in output.decode().splitlines():
            match line.split():
                case ["held", entry_id] if len(entry_id) == 36:
                    self.held.add(entry_id)
                case ["released", entry_id] if len(entry_id) == 36:
                    self.released.add(entry_id)
                case ["settled", entry_id, pico] if line + "\n" in output.decode():
                    self.settled[entry_id] = Decimal(pico) * Decimal("1e-12")


@pytest.mark.parametrize(
    ("posts", "seed"), [(False, 1), (True, 2)], ids=["journal alone", "with a poster"]
)
async def test_a_writer_killed_at_any_moment_loses_and_repeats_nothing(
    directory, make_recovery, database, database_url, posts, seed
):
    rng = random.Random(seed)
    directory.mkdir(mode=0o700)
    writer_ids = [uuid4() for _ in range(4)]
    for writer_id in writer_ids:
        for team_id in (1, 2, 3):
            await lease(database, writer_id, team_id, granted=10**6)
    url = database_url if posts else "-"
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.dying_writer", directory, str(w), str(n), url],
            stdout=subprocess.PIPE,
        )
        for n, w in enumerate(writer_ids)
    ]
    outputs = [asyncio.create_task(asyncio.to_thread(w.stdout.read)) for w in writers]
    async with asyncio.timeout(30):
        while any(len(segments_of(directory, w)) < 2 for w in writer_ids):
            await asyncio.sleep(0.01)
    for writer in writers:
        await asyncio.sleep(rng.uniform(0, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    told = [Told(await output) for output in outputs]
    for writer in writers:
        writer.stdout.close()

    with structlog.testing.capture_logs():
        reports = await asyncio.gather(*(make_recovery().run_once() for _ in range(2)))

    assert sum(report.writer_count for report in reports) == 4
    assert sum(r.failed_count + r.dead_count + r.corrupt_segment_count for r in reports) == 0
    assert files(directory) == []
    amounts = {row["entry_id"]: row for row in await rows(database)}
    assert sum(len(one.settled) for one in told) > 20
    ended = set()
    for one in told:
        for entry_id, amount in one.settled.items():
            assert amounts[entry_id]["amount_usd"] == amount, "lost, or changed"
            assert amounts[entry_id]["usage_source"] == "exact"
        for entry_id in one.released:
            assert entry_id not in amounts, "released, and charged"
        # One end at most was in the journal without its client having heard of it.
        still_held = one.held - one.released - one.settled.keys()
        assert len(still_held - amounts.keys()) <= 1
        ended |= one.held
    # Nor was more than one hold of each.
    assert len(amounts.keys() - ended) <= 4
    for row in amounts.values():
        assert row["usage_source"] == "exact" or row["amount_usd"] == 3
    accounts = await database.fetch("SELECT * FROM ledger.reconciliation")
    assert all(account["balanced"] for account in accounts)
    assert await dead_letters(database) == []
    spent = await database.fetchrow(
        "SELECT sum(consumed_usd) AS consumed, array_agg(DISTINCT state) AS states "
        "FROM ledger.budget_lease"
    )
    assert spent["states"] == ["closed"]
    assert spent["consumed"] == sum(row["amount_usd"] for row in amounts.values())
