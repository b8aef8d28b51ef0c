"""The segments of a running writer in order: rotation, the disk that fails and heals, deletion."""

import errno
import itertools
import os
import uuid
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.domain.clock import Clock
from gateway.domain.entry import Settlement
from gateway.ledger.disk_thread import DiskThread
from gateway.ledger.journal_files import (
    claim,
    corrupt_path,
    make_directory,
    remove_writer,
    segment_path,
)
from gateway.ledger.live_segment import LiveSegment

_log = structlog.get_logger("gateway.journal")
_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_HEAL_INTERVAL_S = 0.5
_MEMORY_SEGMENT_BYTES_MAX = 1 << 20
# Settlements in memory for readers that keep up; one that is behind reads the files, at some 20 us
# of CPU for each. At 3,000 a second this is a second's: twice what the events wait for.
_RECENT_BYTES_MAX = 16 << 20
_OBJECTS_BYTES = 3072  # of one settlement without content, somewhat more than measured


class Recent(NamedTuple):
    """A settlement of the last moments, and where its record ends."""

    settlement: Settlement
    is_adopted: bool
    number: int
    end: int
    ordinal: int
    """How many settlements the writer has written, this one included."""
    bytes_estimate: int = 0


class SegmentChain:
    """Appends frames; in memory, up to `memory_bytes_max`, while the disk takes none.

    Every write is an attempt of its own at healing, at most one in half a second.
    """

    def __init__(
        self,
        directory: Path,
        *,
        writer_id: uuid.UUID,
        segment_bytes_max: int,
        memory_bytes_max: int,
        disk: DiskThread,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._writer_id = writer_id
        self._segment_bytes_max = segment_bytes_max
        self._memory_bytes_max = memory_bytes_max
        self._disk = disk
        self._clock = clock
        self._lock: int | None = None
        self._next_heal_s = 0.0
        self._memory_bytes = 0
        self._recent: deque[Recent] = deque()
        self._recent_bytes = 0
        self.settlement_count = 0
        self.segments: deque[LiveSegment] = deque()
        self.is_in_memory = False
        """The newest records are in memory alone."""

    def open(self) -> None:
        """Start in memory where the disk is full, failing or read-only.

        Raises:
            OSError: the directory cannot be used for another reason; nobody should serve with it.
        """
        self._add_segment()
        self.is_in_memory = True
        failure = self._persist()
        if failure is not None:
            if failure.errno not in _DISK_ERRNOS:
                raise failure
            self._fell_back(failure)

    @property
    def current(self) -> LiveSegment:
        return self.segments[-1]

    @property
    def backlog_bytes(self) -> int:
        return sum(segment.size for segment in self.segments)

    def append(self, frame: bytes) -> LiveSegment | None:
        """Write a record and return its segment; None where disk and memory are full."""
        if self.is_in_memory:
            self.heal()
        segment = self.segments[-1]
        if segment.size >= self._segment_limit:
            segment = self._rotate()
        if not segment.is_in_memory:
            try:
                segment.append(frame)
            except OSError as exc:
                segment = self._fall_back(exc)
            else:
                descriptor = segment.descriptor
                assert descriptor is not None
                self._disk.sync_soon(descriptor)
                return segment
        if self._memory_bytes + len(frame) > self._memory_bytes_max:
            return None
        segment.append(frame)
        self._memory_bytes += len(frame)
        return segment

    def remember(
        self, segment: LiveSegment, settlement: Settlement, frame_bytes: int, *, is_adopted: bool
    ) -> None:
        """Count a settlement that was just appended, and keep it for readers that keep up."""
        size = frame_bytes + _OBJECTS_BYTES
        ordinal = self.settlement_count = self.settlement_count + 1
        segment.end_ordinal = ordinal
        self._recent.append(
            Recent(settlement, is_adopted, segment.number, segment.size, ordinal, size)
        )
        self._recent_bytes += size
        while self._recent_bytes > _RECENT_BYTES_MAX:
            self._forget_oldest()

    def recent_after(self, ordinal: int, rows_max: int) -> list[Recent] | None:
        """The settlements that follow the first `ordinal`; None where memory has them no more."""
        first = self.settlement_count - len(self._recent)
        if ordinal < first:
            return None
        skipped = ordinal - first
        return list(itertools.islice(self._recent, skipped, skipped + rows_max))

    def forget_until(self, ordinal: int) -> None:
        """Let go of what every reader has taken."""
        while self._recent and self._recent[0].ordinal <= ordinal:
            self._forget_oldest()

    def after(self, number: int) -> LiveSegment | None:
        """The oldest segment with a higher number."""
        return next((segment for segment in self.segments if segment.number > number), None)

    def segment(self, number: int) -> LiveSegment | None:
        return next((segment for segment in self.segments if segment.number == number), None)

    def drop_first(self) -> None:
        """Delete the oldest segment; a damaged one is kept aside."""
        segment = self.segments.popleft()
        if segment.is_in_memory:
            self._memory_bytes -= segment.size
        else:
            self._disk.do_soon(partial(_remove, segment.path, is_damaged=segment.is_damaged))

    def heal(self) -> None:
        """Try to bring what is in memory to the disk, unless that was tried just now."""
        if not self.is_in_memory or self._clock.monotonic_s() < self._next_heal_s:
            return
        if self._persist() is None:
            _log.info("journal.healed")

    def close(self, *, is_done: bool) -> None:
        """Close the files and give up the lock; delete all where nothing is left to do."""
        self._next_heal_s = 0.0
        self.heal()
        if self.is_in_memory and not is_done:
            _log.error("journal.lost_at_close", memory_bytes=self._memory_bytes)
        descriptor = self.current.take_descriptor()
        if descriptor is not None:
            self._disk.close_soon(descriptor)
        if is_done:
            while self.segments:
                self.drop_first()
        lock, self._lock = self._lock, None
        if lock is not None:
            if is_done:
                self._disk.do_soon(partial(remove_writer, self._directory, self._writer_id))
            self._disk.do_soon(partial(os.close, lock))

    @property
    def _segment_limit(self) -> int:
        if self.is_in_memory:
            return min(_MEMORY_SEGMENT_BYTES_MAX, self._segment_bytes_max)
        return self._segment_bytes_max

    def _rotate(self) -> LiveSegment:
        self._seal()
        self._add_segment()
        if not self.is_in_memory:
            self.is_in_memory = True
            failure = self._persist()
            if failure is not None:
                self._fell_back(failure)
        return self.current

    def _seal(self) -> None:
        segment = self.current
        segment.is_sealed = True
        descriptor = segment.take_descriptor()
        if descriptor is not None:
            self._disk.close_soon(descriptor)

    def _add_segment(self) -> None:
        number = self.segments[-1].number + 1 if self.segments else 1
        path = segment_path(self._directory, self._writer_id, number)
        self.segments.append(LiveSegment(path, number=number, first_ordinal=self.settlement_count))

    def _fall_back(self, exc: OSError) -> LiveSegment:
        """The disk took a record not: go on in memory."""
        self._seal()
        self._add_segment()
        self.is_in_memory = True
        self._fell_back(exc)
        return self.current

    def _fell_back(self, exc: OSError) -> None:
        self._next_heal_s = self._clock.monotonic_s() + _HEAL_INTERVAL_S
        _log.error("journal.degraded", error=str(exc), backlog_bytes=self.backlog_bytes)

    def _persist(self) -> OSError | None:
        """Bring all to the disk; the error where it does not take all."""
        try:
            if self._lock is None:
                make_directory(self._directory)
                self._lock = claim(self._directory, self._writer_id)
            for segment in self._in_memory():
                segment.persist()
                self._memory_bytes -= segment.size
                if segment.is_sealed and (descriptor := segment.take_descriptor()) is not None:
                    self._disk.close_soon(descriptor)
        except OSError as exc:
            self._next_heal_s = self._clock.monotonic_s() + _HEAL_INTERVAL_S
            return exc
        self.is_in_memory = False
        descriptor = self.current.descriptor
        if descriptor is not None and self.current.size:
            self._disk.sync_soon(descriptor)
        self._disk.do_soon(self._sync_directory)
        return None

    def _in_memory(self) -> Iterator[LiveSegment]:
        return (segment for segment in list(self.segments) if segment.is_in_memory)

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _forget_oldest(self) -> None:
        self._recent_bytes -= self._recent.popleft().bytes_estimate


def _remove(path: Path, *, is_damaged: bool) -> None:
    if is_damaged:
        path.rename(corrupt_path(path))
    else:
        path.unlink(missing_ok=True)
