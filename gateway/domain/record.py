"""Ledger words to JSON-ready records and back: what the journal stores and a worker replays."""

from datetime import date, datetime
from typing import Any, TypeVar

from msgspec.structs import asdict

from gateway.domain.entry import Amounts, Entry, EntryType, Generation, Hold, Settlement
from gateway.domain.ids import entry_id_from
from gateway.domain.request import Attribution
from gateway.domain.usage import Usage, UsageSource

_T = TypeVar("_T", Usage, Amounts, Attribution)


def _compact(value: Usage | Amounts | Attribution) -> dict[str, Any]:
    """Only what differs from the default: most counts of most calls are zero."""
    return {name: v for name, v in asdict(value).items() if v}


def _restored(kind: type[_T], record: dict[str, Any]) -> _T:
    known = kind.__struct_fields__
    return kind(**{name: value for name, value in record.items() if name in known})


def hold_to_record(hold: Hold) -> dict[str, Any]:
    """JSON-ready; `hold_from_record` gives an equal hold back."""
    return asdict(hold) | {
        "entry_id": hold.entry_id,
        "month": hold.month.isoformat(),
        "admitted_at": hold.admitted_at.isoformat(),
    }


def hold_from_record(record: dict[str, Any]) -> Hold:
    """Raises KeyError, TypeError or ValueError for what is not a hold's record."""
    return Hold(
        **record
        | {
            "entry_id": entry_id_from(record["entry_id"]),
            "month": date.fromisoformat(record["month"]),
            "admitted_at": datetime.fromisoformat(record["admitted_at"]),
        }
    )


def entry_to_record(entry: Entry) -> dict[str, Any]:
    """JSON-ready; `entry_from_record` gives an equal entry back."""
    record = asdict(entry)
    return record | {
        "entry_id": entry.entry_id,
        "month": entry.month.isoformat(),
        "occurred_at": entry.occurred_at.isoformat(),
        "usage": _compact(entry.usage),
        "amounts": _compact(entry.amounts),
    }


def entry_from_record(record: dict[str, Any]) -> Entry:
    """Raises KeyError, TypeError or ValueError for what is not an entry's record."""
    return Entry(
        **record
        | {
            "entry_id": entry_id_from(record["entry_id"]),
            "month": date.fromisoformat(record["month"]),
            "occurred_at": datetime.fromisoformat(record["occurred_at"]),
            "usage": _restored(Usage, record["usage"]),
            "amounts": _restored(Amounts, record["amounts"]),
            "usage_source": UsageSource(record["usage_source"]),
            "entry_type": EntryType(record["entry_type"]),
        }
    )


def settlement_to_record(settlement: Settlement) -> dict[str, Any]:
    """JSON-ready; `settlement_from_record` gives an equal settlement back."""
    generation = settlement.generation
    record = asdict(generation)
    record["attribution"] = _compact(generation.attribution)
    return {"entry": entry_to_record(settlement.entry), "generation": record}


def settlement_from_record(record: dict[str, Any]) -> Settlement:
    """Raises KeyError, TypeError or ValueError for what is not a settlement's record."""
    generation = dict(record["generation"])
    generation["attribution"] = _restored(Attribution, generation["attribution"])
    return Settlement(entry=entry_from_record(record["entry"]), generation=Generation(**generation))
