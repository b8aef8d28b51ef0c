"""Entries as the columns of `ledger.post_entries`: an array literal each, made one at a time.

The driver's binary arrays cost twice the CPU, and are made in one go that no stream gets through.
Source of the literals' form: PostgreSQL manual, 8.15.2 "Array Value Input".
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from gateway.domain.entry import Entry
from gateway.ledger.journal_codec import storable, storable_json

_NAMES_MAX = 4096
_NULL = "NULL"
_to_digits = int.__repr__  # Of nothing but whole numbers: True is one, "1" and None are none.
_to_boolean = {True: "t", False: "f"}.__getitem__


def columns_of(entries: Sequence[Entry]) -> Iterator[str]:
    """In the order of the function's parameters, behind the writer.

    The ledger has no columns for audio and images: their tokens go with the text that is read,
    cached or written beside them, as their amounts do; `detail` has them apart. So it has the
    seconds of sound, and the calls of tools other than searches.

    Raises:
        Exception: an entry holds what no row can hold.
    """
    yield _array([entry.entry_id for entry in entries])
    yield _array([entry.month.isoformat() for entry in entries])
    yield _integers([entry.team_id for entry in entries])
    yield _integers([entry.api_key_id for entry in entries])
    yield _names([entry.product for entry in entries])
    yield _names([entry.provider for entry in entries])
    yield _names([entry.dialect for entry in entries])
    yield _names([entry.request_model for entry in entries])
    yield _array([_optional_name(entry.response_model) for entry in entries])
    yield from _counts(entries)
    yield from _amounts(entries)
    yield _names([entry.price_version for entry in entries])
    yield _names([str(entry.usage_source) for entry in entries])
    yield _names([entry.budget_status for entry in entries])
    yield _integers([entry.http_status for entry in entries])
    yield _booleans([entry.client_aborted for entry in entries])
    yield _array([_optional_text(entry.provider_response_id) for entry in entries])
    yield _array([_time(entry.occurred_at) for entry in entries])
    yield _integers([entry.hold_pico_usd for entry in entries])
    yield _booleans([entry.is_leased for entry in entries])
    yield _booleans([entry.is_ceiling for entry in entries])
    yield _integers([entry.cache_ttl_upgraded for entry in entries])
    yield _array([_quoted(storable_json(entry.detail)) for entry in entries])


def _counts(entries: Sequence[Entry]) -> Iterator[str]:
    usages = [entry.usage for entry in entries]
    yield _integers(
        [u.input_uncached_tokens + u.input_audio_tokens + u.input_image_tokens for u in usages]
    )
    yield _integers([u.cache_read_tokens + u.cache_read_audio_tokens for u in usages])
    yield _integers([u.cache_write_5m_tokens + u.cache_write_unsplit_tokens for u in usages])
    yield _integers([usage.cache_write_1h_tokens for usage in usages])
    yield _integers([usage.all_output_tokens for usage in usages])
    yield _integers([usage.reasoning_tokens for usage in usages])
    yield _integers([u.web_search_requests + u.web_search_preview_requests for u in usages])


def _amounts(entries: Sequence[Entry]) -> Iterator[str]:
    amounts = [entry.amounts for entry in entries]
    yield _integers([amount.input_pico_usd for amount in amounts])
    yield _integers([amount.cache_read_pico_usd for amount in amounts])
    yield _integers([amount.cache_write_pico_usd for amount in amounts])
    yield _integers([amount.output_pico_usd for amount in amounts])
    yield _integers([amount.request_pico_usd for amount in amounts])
    yield _integers([amount.web_search_pico_usd for amount in amounts])


def _array(elements: Iterable[str]) -> str:
    return "{" + ",".join(elements) + "}"


def _integers(values: list[int]) -> str:
    return _array(map(_to_digits, values))


def _booleans(values: list[bool]) -> str:
    return _array(map(_to_boolean, values))


def _names(values: list[str]) -> str:
    return _array(map(_name, values))


def _optional_name(value: str | None) -> str:
    return _NULL if value is None else _name(value)


def _optional_text(value: str | None) -> str:
    return _NULL if value is None else _quoted(storable(value))


def _time(at: datetime) -> str:
    return f'"{at.isoformat()}"'


@lru_cache(_NAMES_MAX)
def _name(value: str) -> str:
    """Of one of few: products, models, versions."""
    return _quoted(storable(value))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
