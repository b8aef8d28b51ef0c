"""The files of a dead writer as recovery reads them: what was settled, and which holds were not."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gateway.domain.entry import Amounts, Entry, Generation, Hold, Settlement
from gateway.domain.ids import EntryId
from gateway.domain.usage import Usage, UsageSource
from gateway.ledger.journal_codec import JournalRecord, decode
from gateway.ledger.journal_files import Position, segment_number, segments_of
from gateway.ledger.segment import Damage, Frame, scan

OUTCOME_WORKER_DIED = "worker_died"
_STATUS_UNKNOWN = 0


class Replayed(NamedTuple):
    """A settlement from a dead writer's file, and where its record ends."""

    settlement: Settlement
    is_adopted: bool
    position: Position


class BadRecord(NamedTuple):
    """Bytes of a segment that are no record, for a dead letter."""

    segment: Path
    start: int
    content: bytes


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a first pass over all segments says."""

    open_holds: dict[EntryId, Hold] = field(default_factory=dict)
    damaged_segments: list[Path] = field(default_factory=list)
    torn_tail_count: int = 0


class DeadJournal:
    """Reads a segment at a time; its memory is one segment, and the holds that are open. Blocks."""

    def __init__(self, directory: Path, writer_id: uuid.UUID) -> None:
        self.segments = segments_of(directory, writer_id)

    def survey(self) -> Survey:
        """Pair holds with their ends.

        A record that cannot be read ends no hold: an estimate of the right team is better than
        nothing, and the dead letter shows what it was.
        """
        survey = Survey()
        for segment in self.segments:
            is_damaged = False
            for found in _records(segment):
                if isinstance(found, JournalRecord):
                    _note(survey.open_holds, found)
                elif isinstance(found, Frame) or not found.is_torn_tail:
                    is_damaged = True
                else:
                    survey.torn_tail_count += 1
            if is_damaged:
                survey.damaged_segments.append(segment)
        return survey

    def batches(self, rows_max: int) -> Iterator[list[Replayed]]:
        """Every settlement in order."""
        batch: list[Replayed] = []
        for segment in self.segments:
            number = segment_number(segment)
            for frame in scan(segment.read_bytes(), is_end=True):
                if isinstance(frame, Damage):
                    continue
                record = decode(frame)
                if record is None or record.settlement is None:
                    continue
                position = (number, frame.end)
                batch.append(Replayed(record.settlement, record.is_adopted, position))
                if len(batch) >= rows_max:
                    yield batch
                    batch = []
        if batch:
            yield batch


def bad_records(segment: Path) -> list[BadRecord]:
    """What of a damaged segment cannot be read; a torn tail is no damage."""
    data = segment.read_bytes()
    return [
        BadRecord(segment, found.start, data[found.start : found.end])
        for found in scan(data, is_end=True)
        if _is_bad(found)
    ]


def estimated_settlement(hold: Hold, *, team_name: str) -> Settlement:
    """The entry of a request that died with its worker: the amount of its hold, as an estimate.

    The same hold always gives the same settlement, so that it can be posted again.
    """
    entry = Entry(
        entry_id=hold.entry_id,
        month=hold.month,
        team_id=hold.team_id,
        api_key_id=hold.api_key_id,
        product=hold.product,
        provider=hold.provider,
        dialect=hold.dialect,
        request_model=hold.request_model,
        response_model=None,
        usage=Usage(),
        # No part of it is known: as a fee of the request the parts still add up to the amount.
        amounts=Amounts(request_pico_usd=hold.amount_pico_usd),
        price_version="hold",
        usage_source=UsageSource.ESTIMATED,
        budget_status=hold.budget_status,
        http_status=_STATUS_UNKNOWN,
        client_aborted=False,
        provider_response_id=None,
        occurred_at=hold.admitted_at,
        hold_pico_usd=hold.amount_pico_usd,
        is_leased=hold.is_leased,
        detail={"outcome": OUTCOME_WORKER_DIED},
    )
    generation = Generation(
        team_name=team_name,
        is_streaming=False,
        base_url="",
        latency_s=0.0,
        error=OUTCOME_WORKER_DIED,
    )
    return Settlement(entry=entry, generation=generation)


def _records(segment: Path) -> Iterator[JournalRecord | Frame | Damage]:
    """A frame comes as it is where its payload cannot be decoded."""
    for found in scan(segment.read_bytes(), is_end=True):
        yield found if isinstance(found, Damage) else decode(found) or found


def _is_bad(found: Frame | Damage) -> bool:
    if isinstance(found, Damage):
        return not found.is_torn_tail
    return decode(found) is None


def _note(open_holds: dict[EntryId, Hold], record: JournalRecord) -> None:
    if record.hold is not None:
        open_holds[record.hold.entry_id] = record.hold
    elif record.released is not None:
        open_holds.pop(record.released, None)
    elif record.settlement is not None:
        open_holds.pop(record.settlement.entry.entry_id, None)
