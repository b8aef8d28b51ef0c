"""Ledger words to journal payloads and back, for every text and number that a client may send.

A payload is values without names, as names were most of it: half the bytes and half the time. The
order is a format, since a new version replays the journals of an old one: add names at the end
only, and only of fields with a default.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from gateway.domain.entry import Amounts, Entry, EntryType, Generation, Hold, Settlement
from gateway.domain.ids import EntryId, entry_id_from
from gateway.domain.record import entry_to_record
from gateway.domain.request import Attribution
from gateway.domain.usage import Usage, UsageSource
from gateway.ledger.segment import ADOPTED, HOLD, RELEASE, SETTLEMENT, Frame

HOLD_FIELDS = (
    *("entry_id", "month", "admitted_at", "team_id", "api_key_id", "product", "provider"),
    *("dialect", "request_model", "amount_pico_usd", "budget_status", "is_leased"),
)
ENTRY_FIELDS = (
    *("entry_id", "month", "occurred_at", "usage_source", "entry_type", "team_id", "api_key_id"),
    *("product", "provider", "dialect", "request_model", "response_model", "price_version"),
    *("budget_status", "http_status", "client_aborted", "provider_response_id", "hold_pico_usd"),
    *("is_leased", "is_ceiling", "cache_ttl_upgraded", "detail"),
)
USAGE_FIELDS = (
    *("input_uncached_tokens", "cache_read_tokens", "cache_write_5m_tokens"),
    *("cache_write_1h_tokens", "cache_write_unsplit_tokens", "output_tokens", "reasoning_tokens"),
    *("input_audio_tokens", "cache_read_audio_tokens", "output_audio_tokens"),
    *("input_image_tokens", "web_search_requests"),
    *("output_image_tokens", "input_audio_ms", "web_search_preview_requests"),
    *("file_search_calls", "container_gigabytes", "output_video_tokens"),
)
AMOUNT_FIELDS = (
    *("input_pico_usd", "cache_read_pico_usd", "cache_write_pico_usd", "output_pico_usd"),
    *("request_pico_usd", "web_search_pico_usd"),
)
GENERATION_FIELDS = (
    *("team_name", "is_streaming", "base_url", "latency_s", "time_to_first_token_s", "effort"),
    *("error", "save_mode", "input_json", "output_json"),
)
ATTRIBUTION_FIELDS = (
    *("distinct_id", "trace_id", "session_id", "span_parent_id", "request_id"),
    *("properties", "flags"),
)

_hold_values = attrgetter(*HOLD_FIELDS)
_entry_values = attrgetter(*ENTRY_FIELDS)
_usage_values = attrgetter(*USAGE_FIELDS)
_amount_values = attrgetter(*AMOUNT_FIELDS)
_generation_values = attrgetter(*GENERATION_FIELDS)
_attribution_values = attrgetter(*ATTRIBUTION_FIELDS)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A provider decides how deep its usage is nested; the interpreter's stack is not for it to fill.
_LEVELS_MAX = 200


class JournalRecord(NamedTuple):
    """What a frame says: exactly one of the three is there."""

    hold: Hold | None = None
    settlement: Settlement | None = None
    released: EntryId | None = None
    is_adopted: bool = False


def encode_hold(hold: Hold) -> bytes:
    return _encode(_hold_values(hold))


def encode_settlement(settlement: Settlement) -> bytes:
    entry, generation = settlement.entry, settlement.generation
    return _encode(
        (
            _entry_values(entry),
            _usage_values(entry.usage),
            _amount_values(entry.amounts),
            _generation_values(generation),
            _attribution_values(generation.attribution),
        )
    )


def encode_entry(entry: Entry) -> str:
    """As text, for people: the payload of a dead letter."""
    return _encode_slowly(entry_to_record(entry)).decode()


def decode(frame: Frame) -> JournalRecord | None:
    """None: the checksum holds and yet the payload is no record that this version knows."""
    try:
        return _decode(frame)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def storable(text: str) -> str:
    """Text as PostgreSQL takes it: without NUL, and without halves of surrogate pairs."""
    if text.isascii():
        return text.replace("\0", _REPLACEMENT) if "\0" in text else text
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", _REPLACEMENT)


def storable_json(value: Mapping[str, object]) -> str:
    """JSON as PostgreSQL takes it in a jsonb column."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        return _encode_slowly(value).decode()
    # Only an escaped NUL, or its six characters behind a backslash, can look like this.
    return _encode_slowly(value).decode() if b"\\u0000" in encoded else encoded.decode()


def _decode(frame: Frame) -> JournalRecord | None:
    if frame.kind == RELEASE:
        return JournalRecord(released=entry_id_from(frame.payload.decode("ascii")))
    values = orjson.loads(frame.payload)
    if frame.kind == HOLD:
        return JournalRecord(hold=Hold(**_identified(HOLD_FIELDS, values, at="admitted_at")))
    if frame.kind in {SETTLEMENT, ADOPTED}:
        return JournalRecord(settlement=_settlement(values), is_adopted=frame.kind == ADOPTED)
    return None


def _settlement(values: list[list[Any]]) -> Settlement:
    of_entry, of_usage, of_amounts, of_generation, of_attribution = values[:5]
    entry = _identified(ENTRY_FIELDS, of_entry, at="occurred_at")
    entry["usage_source"] = UsageSource(entry["usage_source"])
    entry["entry_type"] = EntryType(entry["entry_type"])
    return Settlement(
        entry=Entry(
            **entry,
            usage=Usage(**_named(USAGE_FIELDS, of_usage)),
            amounts=Amounts(**_named(AMOUNT_FIELDS, of_amounts)),
        ),
        generation=Generation(
            **_named(GENERATION_FIELDS, of_generation),
            attribution=Attribution(**_named(ATTRIBUTION_FIELDS, of_attribution)),
        ),
    )


def _identified(names: tuple[str, ...], values: list[Any], *, at: str) -> dict[str, Any]:
    record = _named(names, values)
    record["entry_id"] = entry_id_from(record["entry_id"])
    record["month"] = date.fromisoformat(record["month"])
    record[at] = datetime.fromisoformat(record[at])
    return record


def _named(names: tuple[str, ...], values: list[Any]) -> dict[str, Any]:
    # Not strict: an older version wrote fewer values, and a newer one may have written more.
    return dict(zip(names, values, strict=False))


def _encode(values: tuple[Any, ...]) -> bytes:
    try:
        return orjson.dumps(values)
    except TypeError:
        return _encode_slowly(values)


def _encode_slowly(record: object) -> bytes:
    """For what the fast encoder refuses: integers beyond 64 bits, lone surrogates, odd objects."""
    return json.dumps(_plain(record), ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: object, level: int = 0) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping | list | tuple):
        return _plain_parts(value, level + 1)
    if isinstance(value, float):
        # NaN and the infinities are no JSON.
        return value if value - value == 0 else None
    if value is None or isinstance(value, bool | int):
        return value
    return storable(str(value))


def _plain_parts(value: Mapping[Any, object] | list[Any] | tuple[Any, ...], level: int) -> Any:
    if level > _LEVELS_MAX:
        return _REPLACEMENT
    if isinstance(value, Mapping):
        return {storable(str(name)): _plain(part, level) for name, part in value.items()}
    return [_plain(part, level) for part in value]
