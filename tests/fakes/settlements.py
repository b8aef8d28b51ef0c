"""Settlements for tests of what comes after a request: any field of any part by its name."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from gateway.domain.entry import Amounts, Entry, Generation, Settlement
from gateway.domain.ids import ApiKeyId, EntryId, TeamId
from gateway.domain.request import Attribution
from gateway.domain.usage import Usage, UsageSource

_ENTRY = Entry(
    entry_id=EntryId("01930000-0000-7000-8000-000000000001"),
    month=date(2026, 11, 1),
    team_id=TeamId(7),
    api_key_id=ApiKeyId(3),
    product="posthog_code",
    provider="anthropic",
    dialect="anthropic.messages",
    request_model="claude-opus-4-5",
    response_model="claude-opus-4-5-20251101",
    usage=Usage(
        input_uncached_tokens=100,
        cache_read_tokens=2000,
        cache_write_5m_tokens=30,
        cache_write_1h_tokens=400,
        cache_write_unsplit_tokens=5,
        output_tokens=60,
        reasoning_tokens=20,
        web_search_requests=2,
    ),
    amounts=Amounts(
        input_pico_usd=500_000_000,
        cache_read_pico_usd=1_000_000_000,
        cache_write_pico_usd=4_187_500_000,
        output_pico_usd=1_500_000_000,
        request_pico_usd=7,
        web_search_pico_usd=20_000_000_000,
    ),
    price_version="2026-10-01",
    usage_source=UsageSource.EXACT,
    budget_status="ok",
    http_status=200,
    client_aborted=False,
    provider_response_id="msg_01",
    occurred_at=datetime(2026, 11, 15, 12, 0, 0, 250_000, tzinfo=UTC),
    hold_pico_usd=50_000_000_000,
    is_leased=True,
)
_GENERATION = Generation(
    team_name="growth",
    is_streaming=True,
    base_url="https://api.anthropic.com",
    latency_s=1.5,
    time_to_first_token_s=0.25,
    effort="high",
)
_ENTRY_FIELDS = set(Entry.__struct_fields__)
_GENERATION_FIELDS = set(Generation.__struct_fields__)
_ATTRIBUTION_FIELDS = set(Attribution.__struct_fields__)


def settlement(**changes: Any) -> Settlement:
    """A whole streamed Anthropic call, with a new id, and with these fields changed."""
    entry = {"entry_id": EntryId(str(uuid4()))}
    generation: dict[str, Any] = {}
    attribution: dict[str, Any] = {}
    for name, value in changes.items():
        if name in _ENTRY_FIELDS:
            entry[name] = value
        elif name in _GENERATION_FIELDS:
            generation[name] = value
        else:
            assert name in _ATTRIBUTION_FIELDS, name
            attribution[name] = value
    if attribution:
        generation["attribution"] = Attribution(**attribution)
    return Settlement(entry=replace(_ENTRY, **entry), generation=replace(_GENERATION, **generation))
