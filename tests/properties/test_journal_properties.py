"""Whatever is written, read, cut, damaged or refused: each settlement reaches each reader."""

import asyncio
import tempfile
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.dead_journal import DeadJournal
from gateway.ledger.journal import Journal
from gateway.ledger.journal_codec import storable
from gateway.ledger.journal_files import segments_of
from gateway.ledger.segment import SETTLEMENT, Damage, Frame, encode_frame, scan
from tests.fakes.clock import FakeClock
from tests.fakes.full_disk import files_limited_to
from tests.fakes.holds import hold_of
from tests.fakes.settlements import settlement

payload_lists = st.lists(
    st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"")), min_size=1, max_size=8
)


@given(payload_lists, st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_any_chunking_gives_the_same_records(payloads, size):
    content = b"".join(encode_frame(SETTLEMENT, payload) for payload in payloads)
    found = []
    offset = 0
    wanted = size
    while offset < len(content):
        # As a reader does: it starts behind what it has, with more where that was too little.
        is_end = offset + wanted >= len(content)
        frames = list(scan(content[offset : offset + wanted], is_end=is_end))
        found += [frame.payload for frame in frames]
        offset += frames[-1].end if frames else 0
        wanted = size if frames else 2 * wanted
    assert found == payloads


@given(payload_lists, st.data())
@settings(max_examples=300, deadline=None)
def test_one_damaged_byte_costs_at_most_one_record_and_is_told(payloads, data):
    frames = [encode_frame(SETTLEMENT, payload) for payload in payloads]
    content = bytearray(b"".join(frames))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    whole = [found for found in scan(bytes(content), is_end=True) if isinstance(found, Frame)]
    damages = [found for found in scan(bytes(content), is_end=True) if isinstance(found, Damage)]
    hit = next(n for n in range(len(frames)) if at < sum(map(len, frames[: n + 1])))
    others = [payload for n, payload in enumerate(payloads) if n != hit]
    if damages:
        assert [frame.payload for frame in whole] == others
        assert any(damage.start <= at < damage.end for damage in damages)
    else:
        # A newline, or the case of a hexadecimal digit.
        assert [frame.payload for frame in whole] == payloads


@given(payload_lists, st.data())
@settings(max_examples=200, deadline=None)
def test_a_file_cut_anywhere_keeps_every_record_before_the_cut(payloads, data):
    frames = [encode_frame(SETTLEMENT, payload) for payload in payloads]
    content = b"".join(frames)
    cut = data.draw(st.integers(0, len(content)))
    found = list(scan(content[:cut], is_end=True))
    kept = [item.payload for item in found if isinstance(item, Frame)]
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    # All but its newline is all of a record.
    assert kept == payloads[: sum(end - 1 <= cut for end in ends)]
    assert all(item.is_torn_tail for item in found if isinstance(item, Damage))


@given(st.text())
def test_stored_text_can_be_encoded_and_keeps_its_length(text):
    stored = storable(text)
    stored.encode()
    assert "\0" not in stored
    assert len(stored) == len(text)
    assert all(was == now for was, now in zip(text, stored, strict=True) if now != "\ufffd")


STEPS = st.lists(
    st.sampled_from(
        (
            *("hold", "settle", "settle", "settle_old", "release", "adopt", "read_ledger"),
            *("read_events", "disk_full", "disk_back", "sleep"),
        )
    ),
    min_size=5,
    max_size=80,
)


class Machine:
    """A journal and a model of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.writer_id = uuid4()
        self.journal = Journal(
            directory, writer_id=self.writer_id, segment_bytes_max=2500, clock=self.clock
        )
        self.journal.open()
        self.readers = {name: self.journal.reader(name) for name in ("ledger", "events")}
        self.expected: dict[str, list[UUID]] = {"ledger": [], "events": []}
        self.given: dict[str, list[UUID]] = {"ledger": [], "events": []}
        self.open_holds: dict[UUID, object] = {}
        self.limit = None

    async def do(self, step: str) -> None:
        await getattr(self, step, self.sleep)()

    async def hold(self) -> None:
        ended = settlement()
        self.journal.append_hold(hold_of(ended))
        self.open_holds[ended.entry.entry_id] = ended

    async def settle(self) -> None:
        ended = (
            self.open_holds.pop(next(reversed(self.open_holds)), None) if self.open_holds else None
        )
        await self._settle(ended or settlement())

    async def settle_old(self) -> None:
        if self.open_holds:
            await self._settle(self.open_holds.pop(next(iter(self.open_holds))))

    async def _settle(self, ended) -> None:
        self.journal.append_settlement(ended)
        for names in self.expected.values():
            names.append(ended.entry.entry_id)

    async def release(self) -> None:
        if self.open_holds:
            entry_id = next(iter(self.open_holds))
            del self.open_holds[entry_id]
            self.journal.append_release(entry_id)

    async def adopt(self) -> None:
        adopted = settlement()
        self.journal.adopt(adopted)
        self.expected["events"].append(adopted.entry.entry_id)

    async def read_ledger(self) -> None:
        await self._read("ledger", 3)

    async def read_events(self) -> None:
        await self._read("events", 2)

    async def _read(self, name: str, rows_max: int) -> list:
        batch = await self.readers[name].next_batch(rows_max=rows_max, wait_s=0)
        assert len(batch) <= rows_max
        self.given[name] += [ended.entry.entry_id for ended in batch]
        self.readers[name].ack(len(batch))
        return batch

    async def sleep(self) -> None:
        self.clock.advance(1)

    async def disk_full(self) -> None:
        if self.limit is None:
            # Some of what is open fits in part: the write that crosses the limit is cut short.
            self.limit = files_limited_to(1700)
            self.limit.__enter__()

    async def disk_back(self) -> None:
        if self.limit is not None:
            self.limit.__exit__(None, None, None)
            self.limit = None
            self.clock.advance(1)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def scenario(steps: list[str], directory: Path, *, forgets_recent: bool) -> None:
    await asyncio.to_thread(open_files)  # starts what the loop keeps open for threads
    files_before = open_files()
    machine = Machine(directory)
    try:
        for step in steps:
            await machine.do(step)
            if forgets_recent:
                machine.journal._chain.forget_until(10**9)
    finally:
        await machine.disk_back()
    while await machine._read("events", 50):
        pass
    if not forgets_recent:
        while await machine._read("ledger", 50):
            pass
        assert machine.given["ledger"] == machine.expected["ledger"]
        assert machine.readers["ledger"].depth == 0
    assert machine.given["events"] == machine.expected["events"]
    assert machine.readers["events"].depth == 0
    # What a recovery would find if the process died here.
    await machine.journal.sync()
    assert not machine.journal.is_degraded
    dead = DeadJournal(directory, machine.writer_id)
    survey = dead.survey()
    assert set(survey.open_holds) == set(machine.open_holds)
    assert survey.torn_tail_count == 0
    assert survey.damaged_segments == []
    found = [r.settlement.entry.entry_id for batch in dead.batches(7) for r in batch]
    unposted = machine.expected["ledger"][len(machine.given["ledger"]) :]
    assert [entry_id for entry_id in found if entry_id in unposted] == unposted
    while await machine._read("ledger", 50):
        pass
    for entry_id in list(machine.open_holds):
        machine.journal.append_release(entry_id)
    await machine.journal.close()
    assert list(directory.iterdir()) == []
    assert open_files() == files_before


@pytest.mark.parametrize("forgets_recent", [False, True], ids=["from memory", "from files"])
@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_every_reader_gets_every_settlement_in_order_once(steps, forgets_recent):
    with tempfile.TemporaryDirectory() as name, structlog.testing.capture_logs():
        asyncio.run(scenario(steps, Path(name), forgets_recent=forgets_recent))


def test_only_what_is_done_is_deleted():
    """A hold that stays open moves on: the number of segments is bounded, and it is not lost."""

    async def run(directory: Path) -> None:
        machine = Machine(directory)
        await machine.hold()
        (entry_id,) = machine.open_holds
        for _ in range(100):
            await machine._settle(settlement())
            await machine.read_ledger()
            await machine.read_events()
        await machine.journal.sync()
        assert len(segments_of(directory, machine.writer_id)) <= 6
        assert set(DeadJournal(directory, machine.writer_id).survey().open_holds) == {entry_id}
        machine.journal.append_release(entry_id)
        await machine.journal.close()
        assert list(directory.iterdir()) == []

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))
