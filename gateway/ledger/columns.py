"""Entries as the columns of `ledger.post_entries`: an array literal each, made one at a time.

The driver's own arrays are made in one go, which no stream gets through.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from gateway.domain.entry import Entry
from gateway.ledger.journal_codec import storable, storable_json
from gateway.postgres.arrays import NULL, array, booleans, integers, quoted

_NAMES_MAX = 4096


def columns_of(entries: Sequence[Entry]) -> Iterator[str]:
    """In the order of the function's parameters, behind the writer.

    The ledger has no columns for audio and images: their tokens go with the text that is read,
    cached or written beside them, as their amounts do; `detail` has them apart. So it has the
    seconds of sound, and the calls of tools other than searches.

    Raises:
        Exception: an entry holds what no row can hold.
    """
    yield array([entry.entry_id for entry in entries])
    yield array([entry.month.isoformat() for entry in entries])
    yield integers([entry.team_id for entry in entries])
    yield integers([entry.api_key_id for entry in entries])
    yield _names([entry.product for entry in entries])
    yield _names([entry.provider for entry in entries])
    yield _names([entry.dialect for entry in entries])
    yield _names([entry.request_model for entry in entries])
    yield array([_optional_name(entry.response_model) for entry in entries])
    yield from _counts(entries)
    yield from _amounts(entries)
    yield _names([entry.price_version for entry in entries])
    yield _names([str(entry.usage_source) for entry in entries])
    yield _names([entry.budget_status for entry in entries])
    yield integers([entry.http_status for entry in entries])
    yield booleans([entry.client_aborted for entry in entries])
    yield array([_optional_text(entry.provider_response_id) for entry in entries])
    yield array([_time(entry.occurred_at) for entry in entries])
    yield integers([entry.hold_pico_usd for entry in entries])
    yield booleans([entry.is_leased for entry in entries])
    yield booleans([entry.is_ceiling for entry in entries])
    yield integers([entry.cache_ttl_upgraded for entry in entries])
    yield array([quoted(storable_json(entry.detail)) for entry in entries])


def _counts(entries: Sequence[Entry]) -> Iterator[str]:
    usages = [entry.usage for entry in entries]
    yield integers(
        [u.input_uncached_tokens + u.input_audio_tokens + u.input_image_tokens for u in usages]
    )
    yield integers([u.cache_read_tokens + u.cache_read_audio_tokens for u in usages])
    yield integers([u.cache_write_5m_tokens + u.cache_write_unsplit_tokens for u in usages])
    yield integers([usage.cache_write_1h_tokens for usage in usages])
    yield integers([usage.all_output_tokens for usage in usages])
    yield integers([usage.reasoning_tokens for usage in usages])
    yield integers([u.web_search_requests + u.web_search_preview_requests for u in usages])


def _amounts(entries: Sequence[Entry]) -> Iterator[str]:
    amounts = [entry.amounts for entry in entries]
    yield integers([amount.input_pico_usd for amount in amounts])
    yield integers([amount.cache_read_pico_usd for amount in amounts])
    yield integers([amount.cache_write_pico_usd for amount in amounts])
    yield integers([amount.output_pico_usd for amount in amounts])
    yield integers([amount.request_pico_usd for amount in amounts])
    yield integers([amount.web_search_pico_usd for amount in amounts])


def _names(values: list[str]) -> str:
    return array(map(_name, values))


def _optional_name(value: str | None) -> str:
    return NULL if value is None else _name(value)


def _optional_text(value: str | None) -> str:
    return NULL if value is None else quoted(storable(value))


def _time(at: datetime) -> str:
    return f'"{at.isoformat()}"'


@lru_cache(_NAMES_MAX)
def _name(value: str) -> str:
    """Of one of few: products, models, versions."""
    return quoted(storable(value))
