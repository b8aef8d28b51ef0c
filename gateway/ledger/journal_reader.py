"""A consumer's way through a running writer's journal: from memory or, when behind, from files."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from gateway.domain.clock import Clock
from gateway.domain.entry import Settlement
from gateway.ledger.journal_codec import decode
from gateway.ledger.journal_files import Position
from gateway.ledger.live_segment import LiveSegment
from gateway.ledger.segment import ADOPTED, SETTLEMENT, Damage, scan
from gateway.ledger.segment_chain import Recent, SegmentChain

_log = structlog.get_logger("gateway.journal")
# More than a batch of the poster's, so that one read is enough for it.
_READ_BYTES = 1 << 19
# Decoding costs some 20 us a record: streams get the loop between slices of about a millisecond.
_SLICE = 48


class _Delivered(NamedTuple):
    recent: Recent
    is_visible: bool


class JournalReader:
    """Gives each settlement once, in order; what is not acked keeps its segment on the disk.

    One task may use it. A reader that does not see adopted settlements passes over them.
    """

    def __init__(
        self,
        chain: SegmentChain,
        name: str,
        *,
        sees_adopted: bool,
        clock: Clock,
        on_acked: Callable[["JournalReader"], None],
    ) -> None:
        self.name = name
        self.sees_adopted = sees_adopted
        self.arrived = asyncio.Event()
        """Set by the journal with every settlement."""
        self._chain = chain
        self._clock = clock
        self._on_acked = on_acked
        first = chain.segments[0]
        self._number = first.number
        self._offset = 0
        self._ordinal = first.first_ordinal
        self._delivered: deque[_Delivered] = deque()
        self._last_seen_at = clock.now()
        self.acked_ordinal = first.first_ordinal
        self.acked_position: Position = (first.number, 0)

    @property
    def depth(self) -> int:
        """Settlements that were written and not acked."""
        return self._chain.settlement_count - self.acked_ordinal

    @property
    def oldest_age_s(self) -> float:
        """Since the end of the oldest request that is not acked; 0 where there is none."""
        if not self.depth:
            return 0.0
        if self._delivered:
            at = self._delivered[0].recent.settlement.entry.occurred_at
        else:
            following = self._chain.recent_after(self._ordinal, 1)
            # Behind what memory holds: the next one is just younger than the last one was.
            at = following[0].settlement.entry.occurred_at if following else self._last_seen_at
        return max(0.0, (self._clock.now() - at).total_seconds())

    @property
    def taken_ordinal(self) -> int:
        """How many settlements it has been given, or passed over."""
        return self._ordinal

    async def next_batch(self, *, rows_max: int, wait_s: float) -> list[Settlement]:
        """The next settlements; waits up to `wait_s` for at least one.

        Raises:
            OSError: a file cannot be read now; the next call tries again.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        self._chain.heal()
        while True:
            self.arrived.clear()
            while self._ordinal < self._chain.settlement_count:
                settlements = self._deliver(await self._following(rows_max))
                if settlements:
                    return settlements
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self.arrived.wait()
            except TimeoutError:
                return []

    def ack(self, count: int) -> None:
        """The oldest `count` settlements given are done with."""
        assert count <= len(self._delivered)
        while count or (self._delivered and not self._delivered[0].is_visible):
            recent, is_visible = self._delivered.popleft()
            count -= is_visible
            self._acked(recent)
        self._passed()

    def skip(self, segment: LiveSegment) -> int:
        """Pass over the rest of a segment, acked or not; returns how many settlements that loses.

        A batch in the reader's hands stays there, and acking it is as before.
        """
        lost = max(0, segment.end_ordinal - self.acked_ordinal)
        self.acked_ordinal = max(self.acked_ordinal, segment.end_ordinal)
        if self._ordinal < segment.end_ordinal:
            self._number, self._offset = segment.number + 1, 0
            self._ordinal = segment.end_ordinal
        return lost

    def _acked(self, recent: Recent) -> None:
        if recent.ordinal > self.acked_ordinal:
            self.acked_ordinal = recent.ordinal
            self.acked_position = (recent.number, recent.end)
            self._last_seen_at = recent.settlement.entry.occurred_at

    def _passed(self) -> None:
        """What is neither given nor to come was damaged, or is adopted: done with, too."""
        if not self._delivered:
            self.acked_ordinal = max(self.acked_ordinal, self._ordinal)
        self._on_acked(self)

    async def _following(self, rows_max: int) -> list[Recent]:
        """May be empty where the reader only moved on."""
        recents = self._chain.recent_after(self._ordinal, rows_max)
        if recents is not None:
            last = recents[-1]
            self._number, self._offset, self._ordinal = last.number, last.end, last.ordinal
            return recents
        return await self._from_segment(rows_max)

    def _deliver(self, recents: list[Recent]) -> list[Settlement]:
        settlements: list[Settlement] = []
        for recent in recents:
            is_visible = self.sees_adopted or not recent.is_adopted
            self._delivered.append(_Delivered(recent, is_visible))
            if is_visible:
                settlements.append(recent.settlement)
        if not settlements and recents:
            self.ack(0)
        return settlements

    async def _from_segment(self, rows_max: int) -> list[Recent]:
        segment = self._chain.segment(self._number)
        if segment is None or self._offset >= segment.size:
            self._enter_next()
            return []
        limit = segment.size
        bytes_max = _READ_BYTES
        while True:
            data = await self._read(segment, min(bytes_max, limit - self._offset))
            if data is None:
                self._enter_next()
                return []
            is_end = self._offset + len(data) >= limit
            recents, consumed = await self._decoded(segment, data, rows_max, is_end=is_end)
            if consumed or is_end:
                break
            bytes_max *= 2
        if self._number == segment.number:
            self._offset += consumed
            self._ordinal = recents[-1].ordinal if recents else self._ordinal
        return recents

    def _enter_next(self) -> None:
        following = self._chain.after(self._number)
        if following is None:
            # Only where records of the newest segment are damaged: they are passed, and reported.
            self._ordinal = self._chain.settlement_count
        else:
            # From the segment and not counted, so that damage behind us does not shift the count.
            self._number, self._offset = following.number, 0
            self._ordinal = following.first_ordinal
        self._passed()

    async def _read(self, segment: LiveSegment, bytes_max: int) -> bytes | None:
        """None: the file is gone or shorter than what was written; reported."""
        data = segment.read_memory(self._offset, bytes_max)
        if data is not None:
            return data
        try:
            data = await asyncio.to_thread(segment.read_file, self._offset, bytes_max)
        except FileNotFoundError:
            data = b""
        if data:
            return data
        self._report(segment, self._offset, segment.size)
        return None

    async def _decoded(
        self, segment: LiveSegment, data: bytes, rows_max: int, *, is_end: bool
    ) -> tuple[list[Recent], int]:
        recents: list[Recent] = []
        consumed = 0
        ordinal = self._ordinal
        for found in scan(data, is_end=is_end):
            consumed = found.end
            if isinstance(found, Damage):
                self._report(segment, self._offset + found.start, self._offset + found.end)
                continue
            if found.kind not in {SETTLEMENT, ADOPTED}:
                continue
            ordinal += 1
            record = decode(found)
            if record is None or record.settlement is None:
                self._report(segment, self._offset + found.start, self._offset + found.end)
                continue
            end = self._offset + found.end
            recents.append(
                Recent(record.settlement, record.is_adopted, segment.number, end, ordinal)
            )
            if len(recents) >= rows_max:
                break
            if len(recents) % _SLICE == 0:
                await asyncio.sleep(0)
        return recents, consumed

    def _report(self, segment: LiveSegment, start: int, end: int) -> None:
        segment.is_damaged = True
        _log.error(
            "journal.damaged", reader=self.name, segment=segment.path.name, start=start, end=end
        )
