"""The journal: holds and settlements are in a file at once, and in the ledger a moment later."""

import asyncio
import re
import uuid
from functools import partial
from pathlib import Path

import structlog

from gateway.domain.clock import Clock, SystemClock
from gateway.domain.entry import Hold, Settlement
from gateway.domain.ids import EntryId
from gateway.ledger.disk_thread import DiskThread
from gateway.ledger.journal_codec import encode_entry, encode_hold, encode_settlement
from gateway.ledger.journal_files import position_path, write_position
from gateway.ledger.journal_reader import JournalReader
from gateway.ledger.live_segment import LiveSegment
from gateway.ledger.segment import ADOPTED, HOLD, RELEASE, SETTLEMENT, encode_frame
from gateway.ledger.segment_chain import SegmentChain

_log = structlog.get_logger("gateway.journal")
LEDGER_READER = "ledger"
_READER_NAME = re.compile(r"[a-z]+")
_MEMORY_BYTES_MAX = 64 << 20
_POSITION_INTERVAL_S = 1.0
# More segments than this, and the open holds in the oldest move on, so that it can be deleted.
_SEGMENTS_KEPT_FOR_HOLDS = 4


class Journal:
    """Append-only records of one writer, one write(2) each, which a SIGKILL does not undo.

    A thread syncs them within 10 ms and the time of one sync, against power failures. While the
    disk takes nothing records go to memory, up to 64 MiB, and readers see no difference.
    Everything but `close` and `sync` returns at once; all of it belongs to the event loop's thread.
    """

    def __init__(
        self,
        directory: Path,
        *,
        writer_id: uuid.UUID,
        segment_bytes_max: int = 8 << 20,
        memory_bytes_max: int = _MEMORY_BYTES_MAX,
        clock: Clock | None = None,
    ) -> None:
        self.directory = directory
        self.writer_id = writer_id
        self._clock = clock or SystemClock()
        self._disk = DiskThread()
        self._chain = SegmentChain(
            directory,
            writer_id=writer_id,
            segment_bytes_max=segment_bytes_max,
            memory_bytes_max=memory_bytes_max,
            disk=self._disk,
            clock=self._clock,
        )
        self._readers: dict[str, JournalReader] = {}
        self._position_due_s: dict[str, float] = {}
        self._holds: dict[EntryId, tuple[LiveSegment, bytes]] = {}
        self.lost_count = 0
        """Settlements that neither disk nor memory took; each one is in the log."""
        self.skipped_count = 0
        """Settlements that other readers lost to make room for the ledger's."""

    @property
    def is_degraded(self) -> bool:
        """New records are in memory alone, or a sync failed."""
        return self._chain.is_in_memory or self._disk.is_failing

    @property
    def open_hold_count(self) -> int:
        return len(self._holds)

    @property
    def backlog_bytes(self) -> int:
        """What is kept, on disk and in memory."""
        return self._chain.backlog_bytes

    @property
    def adopting_readers(self) -> list[str]:
        """Names of the readers that want the settlements of dead writers."""
        return [reader.name for reader in self._readers.values() if reader.sees_adopted]

    def open(self) -> None:
        """Make the directory and the first segment.

        Raises:
            OSError: the directory cannot be used; a disk that is full or read-only is no reason.
        """
        self._disk.start()
        self._chain.open()

    def reader(self, name: str) -> JournalReader:
        """A reader from the oldest record on; from now on segments wait for its acks."""
        assert _READER_NAME.fullmatch(name), name
        assert name not in self._readers, name
        reader = JournalReader(
            self._chain,
            name,
            sees_adopted=name != LEDGER_READER,
            clock=self._clock,
            on_acked=self._acked,
        )
        self._readers[name] = reader
        return reader

    def append_hold(self, hold: Hold) -> None:
        """Before the first byte goes upstream."""
        frame = encode_frame(HOLD, encode_hold(hold))
        segment = self._append(frame)
        if segment is not None:
            self._holds[hold.entry_id] = (segment, frame)
            segment.open_hold_count += 1

    def append_settlement(self, settlement: Settlement) -> None:
        """Before the bytes that end the response go to the client."""
        self._append_settlement(SETTLEMENT, settlement)
        self._end_hold(settlement.entry.entry_id)

    def adopt(self, settlement: Settlement) -> None:
        """Take over what a dead writer left, which the ledger has, for the other readers."""
        self._append_settlement(ADOPTED, settlement)

    def append_release(self, entry_id: EntryId) -> None:
        """End a hold at no cost: nothing of the request reached the provider."""
        self._append(encode_frame(RELEASE, entry_id.encode()))
        self._end_hold(entry_id)

    async def sync(self) -> None:
        """Wait until all that was written is synced, as far as the disk does that."""
        loop = asyncio.get_running_loop()
        synced = loop.create_future()

        def tell() -> None:
            loop.call_soon_threadsafe(_resolve, synced)

        # After every sync that is queued.
        self._disk.do_soon(tell)
        await synced

    async def close(self) -> None:
        """Leave nothing behind where all is acked, else what the next recovery needs."""
        for reader in self._readers.values():
            self._write_position(reader)
        is_done = (
            bool(self._readers)
            and not self._holds
            and all(not reader.depth for reader in self._readers.values())
        )
        self._chain.close(is_done=is_done)
        await asyncio.to_thread(self._disk.close)

    def _append(self, frame: bytes) -> LiveSegment | None:
        segment = self._chain.append(frame)
        while segment is None and self._make_room():
            segment = self._chain.append(frame)
        return segment

    def _append_settlement(self, kind: bytes, settlement: Settlement) -> None:
        frame = encode_frame(kind, encode_settlement(settlement))
        segment = self._append(frame)
        if segment is None:
            self.lost_count += 1
            # The log is the last place that is left.
            _log.error("journal.record_lost", entry=encode_entry(settlement.entry))
            return
        self._chain.remember(segment, settlement, len(frame), is_adopted=kind is ADOPTED)
        for reader in self._readers.values():
            reader.arrived.set()

    def _end_hold(self, entry_id: EntryId) -> None:
        segment, _ = self._holds.pop(entry_id, (None, b""))
        if segment is None:
            return
        segment.open_hold_count -= 1
        if not segment.open_hold_count and segment.is_sealed:
            self._delete_done()

    def _acked(self, reader: JournalReader) -> None:
        self._chain.forget_until(min(other.taken_ordinal for other in self._readers.values()))
        self._delete_done()
        now_s = self._clock.monotonic_s()
        if not reader.depth or now_s >= self._position_due_s.get(reader.name, 0.0):
            self._position_due_s[reader.name] = now_s + _POSITION_INTERVAL_S
            self._write_position(reader)

    def _write_position(self, reader: JournalReader) -> None:
        path = position_path(self.directory, self.writer_id, reader.name)
        self._disk.do_soon(partial(write_position, path, reader.acked_position))

    def _delete_done(self) -> None:
        """Delete segments from the oldest on: a record may end a hold of any earlier segment."""
        segments = self._chain.segments
        while segments[0].is_sealed and self._is_read(segments[0]):
            if segments[0].open_hold_count and len(segments) > _SEGMENTS_KEPT_FOR_HOLDS:
                self._move_holds(segments[0])
            if segments[0].open_hold_count:
                return
            self._chain.drop_first()

    def _is_read(self, segment: LiveSegment) -> bool:
        readers = self._readers.values()
        return bool(readers) and all(
            reader.acked_ordinal >= segment.end_ordinal for reader in readers
        )

    def _move_holds(self, old: LiveSegment) -> None:
        """Write the open holds of a segment once more, so that it need not be kept for them.

        Where there is no room for one, it and those after it stay where they are.
        """
        moved = [entry_id for entry_id, (segment, _) in self._holds.items() if segment is old]
        for entry_id in moved:
            _, frame = self._holds[entry_id]
            segment = self._chain.append(frame)
            if segment is None:
                return
            self._holds[entry_id] = (segment, frame)
            segment.open_hold_count += 1
            old.open_hold_count -= 1

    def _make_room(self) -> bool:
        """Disk and memory are full: the oldest segment goes, where it waits for events alone."""
        oldest = self._chain.segments[0]
        ledger = self._readers.get(LEDGER_READER)
        if ledger is None or not oldest.is_sealed or ledger.acked_ordinal < oldest.end_ordinal:
            return False
        skipped = sum(reader.skip(oldest) for reader in self._readers.values())
        self.skipped_count += skipped
        _log.error("journal.made_room", segment=oldest.path.name, skipped=skipped)
        self._move_holds(oldest)
        self._chain.drop_first()
        # Those that there was no room for until now.
        self._move_holds(oldest)
        # The disk may have room now.
        self._chain.heal()
        return True


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
