"""The journal on a real disk: files, locks, syncs, full disks, damage, and readers that wait."""

import asyncio
import os
import subprocess
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from gateway.ledger.dead_journal import DeadJournal
from gateway.ledger.journal import Journal
from gateway.ledger.journal_files import (
    position_path,
    read_position,
    segments_of,
    take_over,
    write_position,
    writers_in,
)
from tests.fakes.clock import FakeClock
from tests.fakes.full_disk import files_limited_to
from tests.fakes.holds import hold, hold_of
from tests.fakes.settlements import settlement


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal"


@pytest.fixture
async def journal(directory: Path, clock: FakeClock):
    journal = Journal(directory, writer_id=uuid4(), segment_bytes_max=4000, clock=clock)
    journal.open()
    yield journal
    await journal.close()


async def take(reader, rows_max=500):
    """Read and ack what is there."""
    taken = []
    while batch := await reader.next_batch(rows_max=rows_max, wait_s=0):
        reader.ack(len(batch))
        taken += batch
    return taken


def write(journal, count, **changes):
    written = [settlement(**changes) for _ in range(count)]
    for one in written:
        journal.append_settlement(one)
    return written


def segments(journal):
    return segments_of(journal.directory, journal.writer_id)


async def test_files_are_private(journal, directory):
    write(journal, 1)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


async def test_records_are_in_the_file_when_append_returns(journal):
    ended = settlement()
    journal.append_hold(hold_of(ended))
    held = segments(journal)[0].stat().st_size
    assert held > 0
    journal.append_settlement(ended)
    assert segments(journal)[0].stat().st_size > held


async def test_a_record_is_synced_soon_without_anybody_waiting(journal):
    write(journal, 1)
    deadline = time.monotonic() + 5
    while journal._disk.sync_count == 0 and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    assert journal._disk.sync_count == 1


async def test_many_records_share_a_sync(journal):
    write(journal, 5)
    await journal.sync()
    before = journal._disk.sync_count
    write(journal, 5)
    await journal.sync()
    assert journal._disk.sync_count - before <= 5


async def test_a_living_writer_cannot_be_taken_over(journal, directory):
    assert writers_in(directory) == [journal.writer_id]
    assert take_over(directory, journal.writer_id) is None


async def test_only_one_takes_over_a_dead_writer(directory):
    directory.mkdir(parents=True)
    writer_id = uuid4()
    first = take_over(directory, writer_id)
    assert first is not None
    assert take_over(directory, writer_id) is None
    os.close(first)
    second = take_over(directory, writer_id)
    assert second is not None
    os.close(second)


async def test_a_journal_that_is_all_acked_leaves_nothing(directory):
    journal = Journal(directory, writer_id=uuid4())
    journal.open()
    reader = journal.reader("ledger")
    ended = settlement()
    journal.append_hold(hold_of(ended))
    journal.append_settlement(ended)
    assert await take(reader) == [ended]
    await journal.close()
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("left", ["unread settlement", "open hold", "no reader"])
async def test_a_journal_with_something_left_is_kept_for_recovery(directory, left):
    journal = Journal(directory, writer_id=uuid4())
    journal.open()
    if left != "no reader":
        reader = journal.reader("ledger")
    if left == "open hold":
        journal.append_hold(hold())
    else:
        write(journal, 1)
    if left == "open hold":
        assert await take(reader) == []
    await journal.close()
    lock = take_over(directory, journal.writer_id)
    assert lock is not None
    os.close(lock)
    assert segments(journal)


async def test_segments_wait_for_the_slowest_reader(journal):
    ledger, events = journal.reader("ledger"), journal.reader("events")
    written = write(journal, 40)
    assert len(segments(journal)) > 4
    assert await take(ledger) == written
    await journal.sync()
    assert len(segments(journal)) > 4
    assert events.depth == 40
    assert ledger.depth == 0
    assert await take(events) == written
    await journal.sync()
    assert len(segments(journal)) == 1


async def test_what_is_given_and_not_acked_stays(journal):
    reader = journal.reader("ledger")
    written = write(journal, 40)
    assert await reader.next_batch(rows_max=500, wait_s=0) == written
    await journal.sync()
    assert len(segments(journal)) > 4
    assert reader.depth == 40
    reader.ack(39)
    assert reader.depth == 1


async def test_batches_are_bounded_and_follow_each_other(journal):
    reader = journal.reader("ledger")
    written = write(journal, 7)
    sizes = []
    given = []
    while batch := await reader.next_batch(rows_max=3, wait_s=0):
        sizes.append(len(batch))
        given += batch
    assert sizes == [3, 3, 1]
    assert given == written
    reader.ack(7)


async def test_a_reader_waits_for_the_next_settlement(journal):
    reader = journal.reader("ledger")
    waiting = asyncio.get_running_loop().create_task(reader.next_batch(rows_max=5, wait_s=5))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    (written,) = write(journal, 1)
    assert await waiting == [written]
    reader.ack(1)


async def test_a_reader_gives_up_waiting(journal):
    reader = journal.reader("ledger")
    assert await reader.next_batch(rows_max=5, wait_s=0.01) == []


async def test_a_reader_that_is_far_behind_costs_no_memory(directory, clock):
    journal = Journal(directory, writer_id=uuid4(), clock=clock)
    journal.open()
    reader = journal.reader("ledger")
    content = "x" * 20_000
    written = write(journal, 1200, output_json=content)
    assert len(journal._chain._recent) < 800
    given = await take(reader, rows_max=50)
    assert [one.entry.entry_id for one in given] == [one.entry.entry_id for one in written]
    assert given == written
    await journal.close()


async def test_a_record_larger_than_a_read_is_read(journal):
    reader = journal.reader("ledger")
    (written,) = write(journal, 1, output_json="y" * 3_000_000)
    journal._chain.forget_until(1)
    (given,) = await take(reader)
    assert given == written


async def test_a_cancelled_read_loses_nothing(journal):
    reader = journal.reader("ledger")
    written = write(journal, 200)
    journal._chain.forget_until(200)
    for _ in range(3):
        reading = asyncio.get_running_loop().create_task(reader.next_batch(rows_max=50, wait_s=0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert await take(reader) == written


async def test_the_ledger_does_not_see_adopted_settlements(journal):
    ledger, events = journal.reader("ledger"), journal.reader("events")
    adopted = settlement()
    journal.adopt(adopted)
    (own,) = write(journal, 1)
    assert await take(ledger) == [own]
    assert await take(events) == [adopted, own]
    journal.adopt(adopted)
    assert await take(ledger) == []
    assert ledger.depth == 0
    assert journal.adopting_readers == ["events"]


async def test_age_is_that_of_the_oldest_request_not_acked(journal, clock):
    reader = journal.reader("ledger")
    assert reader.oldest_age_s == 0
    write(journal, 1, occurred_at=clock.now())
    clock.advance(60)
    write(journal, 1, occurred_at=clock.now())
    clock.advance(1)
    assert reader.oldest_age_s == 61
    assert len(await reader.next_batch(rows_max=1, wait_s=0)) == 1
    assert reader.oldest_age_s == 61
    reader.ack(1)
    assert reader.oldest_age_s == 1
    await take(reader)
    assert reader.oldest_age_s == 0


async def test_positions_are_kept_for_the_next_process(journal):
    reader = journal.reader("events")
    write(journal, 3)
    await take(reader)
    await journal.sync()
    path = position_path(journal.directory, journal.writer_id, "events")
    assert read_position(path) == (1, segments(journal)[0].stat().st_size)


async def test_a_position_that_cannot_be_read_is_the_start(tmp_path):
    path = tmp_path / "p.position"
    assert read_position(path) == (0, 0)
    write_position(path, (3, 77))
    assert read_position(path) == (3, 77)
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"000000001")
    assert read_position(path) == (0, 0)


async def test_a_full_disk_degrades_to_memory_and_heals_by_itself(journal, clock):
    reader = journal.reader("ledger")
    written = write(journal, 2)
    with structlog.testing.capture_logs() as logs, files_limited_to(2000):
        held = hold()
        journal.append_hold(held)
        written += write(journal, 10)
        assert journal.is_degraded
        assert await take(reader) == written
        written = write(journal, 10)
        clock.advance(1)
        written += write(journal, 1)
        assert journal.is_degraded
    clock.advance(1)
    written += write(journal, 1)
    assert not journal.is_degraded
    await journal.sync()
    # All that was in memory is in files, in order, as if nothing had been.
    dead = DeadJournal(journal.directory, journal.writer_id)
    on_disk = [replayed.settlement for batch in dead.batches(9) for replayed in batch]
    assert [one for one in on_disk if one in written] == written
    assert set(dead.survey().open_holds) == {held.entry_id}
    assert await take(reader) == written
    assert [log["event"] for log in logs] == ["journal.degraded"]


async def test_an_idle_journal_heals_while_readers_wait(journal, clock):
    reader = journal.reader("ledger")
    with structlog.testing.capture_logs(), files_limited_to(10):
        (written,) = write(journal, 1)
    clock.advance(1)
    assert await take(reader) == [written]
    assert not journal.is_degraded


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 64 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs to mount a file system")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.root
async def test_a_real_disk_fills_and_is_emptied(small_disk, clock):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 40_000)
    journal = Journal(
        small_disk / "journal", writer_id=uuid4(), segment_bytes_max=4096, clock=clock
    )
    journal.open()
    reader = journal.reader("ledger")
    with structlog.testing.capture_logs() as logs:
        written = write(journal, 200)
        assert journal.is_degraded
        filler.unlink()
        clock.advance(1)
        written += write(journal, 1)
        assert journal.is_degraded, "40 kB are not enough for all of it"
        assert await take(reader) == written
        # Files are deleted on a thread: only then is there room.
        await journal.sync()
        clock.advance(1)
        written = write(journal, 1)
        assert not journal.is_degraded
    assert [log["event"] for log in logs] == ["journal.degraded", "journal.healed"]
    assert await take(reader) == written
    await journal.close()
    assert list((small_disk / "journal").iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize("state", ["full", "read-only"])
async def test_a_disk_that_takes_nothing_at_the_start_is_no_reason_not_to_serve(
    small_disk, clock, state
):
    journal = Journal(small_disk / "journal", writer_id=uuid4(), clock=clock)
    remount = ["mount", "-o", "remount,rw,size=64k,nr_inodes=2", str(small_disk)]
    if state == "read-only":
        remount[2] = "remount,ro"
    else:
        (small_disk / "filler").touch()
    subprocess.run(remount, check=True)
    with structlog.testing.capture_logs() as logs:
        journal.open()
        reader = journal.reader("ledger")
        assert journal.is_degraded
        (written,) = write(journal, 1)
        remount[2] = "remount,rw,nr_inodes=100"
        subprocess.run(remount, check=True)
        clock.advance(1)
        assert await take(reader) == [written]
        assert not journal.is_degraded
    assert [log["event"] for log in logs] == ["journal.degraded", "journal.healed"]
    assert take_over(small_disk / "journal", journal.writer_id) is None
    await journal.close()


async def test_a_directory_that_cannot_be_used_is_told_at_the_start(tmp_path):
    (tmp_path / "file").write_text("in the way")
    journal = Journal(tmp_path / "file" / "journal", writer_id=uuid4())
    with pytest.raises(NotADirectoryError):
        journal.open()
    journal._disk.close()


async def test_memory_is_bounded_and_what_is_lost_is_in_the_log(directory, clock):
    journal = Journal(directory, writer_id=uuid4(), memory_bytes_max=5000, clock=clock)
    journal.open()
    reader = journal.reader("ledger")
    with structlog.testing.capture_logs() as logs, files_limited_to(10):
        write(journal, 3)
        written = write(journal, 20)
        assert journal.lost_count > 0
        assert journal.backlog_bytes <= 5000
        lost = [log["entry"] for log in logs if log["event"] == "journal.record_lost"]
        assert len(lost) == journal.lost_count
        assert str(written[-1].entry.entry_id) in lost[-1]
        assert "500000000" in lost[-1]
        kept = await take(reader)
    assert len(kept) + journal.lost_count == 23
    await journal.close()


def small_journal(directory, clock):
    """Open, of segments and a memory that a few entries fill."""
    journal = Journal(
        directory,
        writer_id=uuid4(),
        segment_bytes_max=3000,
        memory_bytes_max=12_000,
        clock=clock,
    )
    journal.open()
    return journal


async def test_events_make_room_for_the_ledger_when_disk_and_memory_are_full(directory, clock):
    journal = small_journal(directory, clock)
    ledger, events = journal.reader("ledger"), journal.reader("events")
    written = []
    posted = []
    with structlog.testing.capture_logs() as logs, files_limited_to(10):
        for _ in range(30):
            written += write(journal, 3)
            posted += await take(ledger)
    assert posted == written
    assert journal.lost_count == 0
    assert journal.skipped_count > 0
    assert "journal.made_room" in {log["event"] for log in logs}
    clock.advance(1)
    sent = await take(events)
    assert len(sent) + journal.skipped_count == len(written)
    assert sent == written[-len(sent) :]
    assert events.depth == 0
    await journal.close()
    assert list(directory.iterdir()) == []


async def test_no_room_is_made_of_what_the_ledger_has_not_acked(directory, clock):
    journal = small_journal(directory, clock)
    ledger, events = journal.reader("ledger"), journal.reader("events")
    with structlog.testing.capture_logs(), files_limited_to(10):
        written = write(journal, 60)
        given = await ledger.next_batch(rows_max=2, wait_s=0)
        written += write(journal, 10)
        assert journal.lost_count > 0
        assert journal.skipped_count == 0
        ledger.ack(len(given))
        kept = [*given, *await take(ledger)]
    assert kept == written[: len(kept)]
    assert len(kept) + journal.lost_count == len(written)
    assert await take(events) == kept
    await journal.close()


async def test_the_segment_that_is_written_to_makes_no_room(directory, clock):
    journal = Journal(directory, writer_id=uuid4(), memory_bytes_max=3000, clock=clock)
    journal.open()
    ledger = journal.reader("ledger")
    with structlog.testing.capture_logs(), files_limited_to(10):
        while not journal.lost_count:
            write(journal, 1)
            await take(ledger)
        write(journal, 1)
        assert journal.lost_count == 2
        assert ledger.depth == 0
    clock.advance(1)
    written = write(journal, 1)
    assert await take(ledger) == written
    await journal.close()


async def test_an_open_hold_outlives_the_room_that_its_segment_makes(directory, clock):
    journal = small_journal(directory, clock)
    ledger, _ = journal.reader("ledger"), journal.reader("events")
    running = hold()
    with structlog.testing.capture_logs(), files_limited_to(10):
        journal.append_hold(running)
        while not journal.skipped_count:
            write(journal, 3)
            await take(ledger)
    clock.advance(1)
    write(journal, 1)
    await journal.close()
    survey = DeadJournal(directory, journal.writer_id).survey()
    assert list(survey.open_holds) == [running.entry_id]


def damage(path: Path, text: bytes) -> None:
    content = path.read_bytes()
    assert content.count(text) >= 1
    at = content.index(text)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"#")


async def test_damage_under_a_living_writer_costs_one_record_and_is_kept(journal):
    reader = journal.reader("ledger")
    written = write(journal, 12)
    victims = [written[1], written[-1]]
    journal._chain.forget_until(10**9)
    for victim in victims:
        for path in segments(journal):
            if str(victim.entry.entry_id).encode() in path.read_bytes():
                damage(path, str(victim.entry.entry_id).encode())
    with structlog.testing.capture_logs() as logs:
        given = await take(reader)
    assert given == [one for one in written if one not in victims]
    assert [log["event"] for log in logs] == ["journal.damaged"] * 2
    assert reader.depth == 0
    more = write(journal, 12)
    assert await take(reader) == more
    await journal.sync()
    corrupt = list(journal.directory.glob("*.corrupt"))
    assert len(corrupt) == 2
    assert all(path.stat().st_size > 0 for path in corrupt)


async def test_a_segment_that_vanished_is_told_and_passed(journal):
    reader = journal.reader("ledger")
    written = write(journal, 20)
    journal._chain.forget_until(10**9)
    segments(journal)[0].unlink()
    with structlog.testing.capture_logs() as logs:
        given = await take(reader)
    assert 0 < len(given) < 20
    assert given == written[-len(given) :]
    assert [log["event"] for log in logs][:1] == ["journal.damaged"]
    assert reader.depth == 0


async def test_appending_never_waits_for_a_sync(directory):
    """Rotations and deletions included: the loop's thread only writes."""
    journal = Journal(directory, writer_id=uuid4(), segment_bytes_max=100_000)
    journal.open()
    reader = journal.reader("ledger")
    calls = []
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        calls.append(threading.get_ident())
        time.sleep(0.2)
        sync(descriptor)

    os.fdatasync = slow
    try:
        start = time.monotonic()
        write(journal, 1000)
        await take(reader)
        duration = time.monotonic() - start
        # On a quick machine the first sync comes only now.
        await journal.close()
    finally:
        os.fdatasync = sync
    # Six rotations or so: with their syncs it would take more than a second.
    assert duration < 1.0
    assert len(calls) >= 1
    assert threading.get_ident() not in calls
