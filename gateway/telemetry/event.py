"""A settled entry as PostHog's `$ai_generation` message: same id, same money, same counts."""

from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway import __version__
from gateway.domain.entry import Amounts, Entry, Generation, Settlement
from gateway.domain.money import PICO_PER_USD
from gateway.domain.request import Attribution, Dialect
from gateway.domain.usage import Usage
from gateway.telemetry import names
from gateway.telemetry.outcome import Outcome, outcome_of

# PostHog ignores what it does not know and acts on these, with or without us setting them.
_RESERVED = frozenset(
    {
        "api_key",
        "distinct_id",
        "event",
        "groups",
        "historical_migration",
        "ip",
        "properties",
        "sent_at",
        "timestamp",
        "token",
        "uuid",
    }
)
# The `$` names are PostHog's; a client may set these, which only describe its own work.
_CLIENT_DOLLAR_NAMES = frozenset(
    {
        "$ai_agent_name",
        "$ai_baseline_effort",
        "$ai_baseline_model",
        "$ai_effective_effort",
        "$ai_prompt_name",
        "$ai_prompt_version",
        "$ai_save_mode",
        "$ai_span_name",
        "$ai_trace_name",
        "$session_id",
    }
)
# A client's word for its own Save Mode, where the name itself is the gateway's.
_RENAMED = {names.SAVE_MODE: "client_save_mode"}
_TEAM_PREFIX = "team:"
_ERROR_CHARS_MAX = 200


def event_for(settlement: Settlement, *, with_content: bool = True) -> dict[str, Any]:
    """One message of PostHog's batch format; its `uuid` is the entry id, so a resend is no second.

    Costs are JSON numbers made from the entry's integers at the last step: each is the double next
    to the exact amount, and below 1,000 USD its text is the exact amount. `$ai_input_tokens` counts
    as the dialect does, Anthropic's without cache tokens and OpenAI's with them, and
    `$ai_cache_reporting_exclusive` says which (PostHog, "Generations", seen 2026-10). A property
    or flag of the client never replaces one of the gateway's; the client's own `save_mode` becomes
    `client_save_mode`.
    """
    entry, generation = settlement.entry, settlement.generation
    attribution = generation.attribution
    entry_id = entry.entry_id
    properties = _client_properties(attribution)
    properties |= _identity(entry_id, attribution)
    properties |= _call(settlement)
    properties |= _counts(entry)
    properties |= _costs(entry.amounts)
    properties |= _ours(entry, generation)
    if with_content:
        _add_content(properties, generation)
    return {
        "event": names.EVENT_GENERATION,
        "uuid": entry_id,
        "distinct_id": attribution.distinct_id or _TEAM_PREFIX + generation.team_name,
        "timestamp": entry.occurred_at.astimezone(UTC).isoformat(),
        "properties": properties,
    }


def is_clients_to_set(name: str) -> bool:
    """Whether a client may set a property of this name."""
    if name.startswith("$"):
        return name in _CLIENT_DOLLAR_NAMES
    return name not in _RESERVED and name not in names.EVENT_PROPERTIES


def _client_properties(attribution: Attribution) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, value in attribution.properties.items():
        lowered = name.lower()
        if lowered in _RENAMED:
            properties[_RENAMED[lowered]] = value
        elif is_clients_to_set(lowered):
            properties[name] = value
    for key, value in attribution.flags.items():
        properties[f"$feature/{key}"] = value
    return properties


def _identity(entry_id: str, attribution: Attribution) -> dict[str, Any]:
    properties: dict[str, Any] = {
        names.AI_TRACE_ID: attribution.trace_id or entry_id,
        names.AI_SPAN_ID: entry_id,
        names.AI_SESSION_ID: attribution.session_id,
        names.LIB: "llm-gateway",
        names.LIB_VERSION: __version__,
        names.GEOIP_DISABLE: True,
    }
    if attribution.span_parent_id is not None:
        properties[names.AI_PARENT_ID] = attribution.span_parent_id
    if attribution.request_id is not None:
        properties[names.REQUEST_ID] = attribution.request_id
    if attribution.distinct_id is None:
        properties[names.PERSON_PROFILE] = False
    return properties


def _call(settlement: Settlement) -> dict[str, Any]:
    entry, generation = settlement.entry, settlement.generation
    outcome = outcome_of(settlement)
    is_error = generation.error is not None or outcome is Outcome.PROVIDER_ERROR
    error = generation.error or f"http_{entry.http_status}"
    properties: dict[str, Any] = {
        names.AI_PROVIDER: entry.provider,
        names.AI_MODEL: entry.response_model or entry.request_model,
        names.AI_BASE_URL: _safe_url(generation.base_url),
        names.AI_EFFORT: generation.effort,
        names.AI_STREAM: generation.is_streaming,
        names.AI_HTTP_STATUS: entry.http_status,
        names.AI_IS_ERROR: is_error,
        names.AI_ERROR: error[:_ERROR_CHARS_MAX] if is_error else None,
        names.AI_LATENCY: round(generation.latency_s, 6),
        names.AI_TIME_TO_FIRST_TOKEN: _rounded(generation.time_to_first_token_s),
        names.AI_GATEWAY: True,
        names.AI_BILLABLE: entry.amounts.total_pico_usd > 0,
    }
    for name, key in (
        (names.AI_STOP_REASON, "stop_reason"),
        (names.AI_SERVICE_TIER, "service_tier"),
    ):
        value = entry.detail.get(key)
        if isinstance(value, str):
            properties[name] = value
    return properties


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _safe_url(url: str) -> str:
    """The URL without what may be secret in it: user, password, query, fragment."""
    if "@" not in url and "?" not in url and "#" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _counts(entry: Entry) -> dict[str, Any]:
    usage: Usage = entry.usage
    is_exclusive = entry.dialect == Dialect.ANTHROPIC_MESSAGES
    cache_read = usage.cache_read_tokens + usage.cache_read_audio_tokens
    # Writes without a lifetime stand with the 5-minute ones, as in the ledger.
    cache_write_5m = usage.cache_write_5m_tokens + usage.cache_write_unsplit_tokens
    cache_write = cache_write_5m + usage.cache_write_1h_tokens
    input_tokens = usage.input_tokens
    properties: dict[str, Any] = {
        names.AI_INPUT_TOKENS: (
            input_tokens - cache_read - cache_write if is_exclusive else input_tokens
        ),
        names.AI_CACHE_EXCLUSIVE: is_exclusive,
        names.AI_OUTPUT_TOKENS: usage.all_output_tokens,
        names.AI_REASONING_TOKENS: usage.reasoning_tokens,
        names.AI_CACHE_READ_TOKENS: cache_read,
        names.AI_CACHE_WRITE_TOKENS: cache_write,
        names.AI_CACHE_WRITE_5M_TOKENS: cache_write_5m,
        names.AI_CACHE_WRITE_1H_TOKENS: usage.cache_write_1h_tokens,
    }
    rare = (
        (names.AI_AUDIO_INPUT_TOKENS, usage.input_audio_tokens + usage.cache_read_audio_tokens),
        (names.AI_AUDIO_OUTPUT_TOKENS, usage.output_audio_tokens),
        (names.AI_IMAGE_INPUT_TOKENS, usage.input_image_tokens),
        (
            names.AI_WEB_SEARCH_COUNT,
            usage.web_search_requests + usage.web_search_preview_requests,
        ),
    )
    properties.update((name, count) for name, count in rare if count)
    return properties


def _costs(amounts: Amounts) -> dict[str, Any]:
    """Integer over integer: Python's true division gives the nearest double, rounded once."""
    input_pico_usd = (
        amounts.input_pico_usd + amounts.cache_read_pico_usd + amounts.cache_write_pico_usd
    )
    return {
        names.AI_INPUT_COST: input_pico_usd / PICO_PER_USD,
        names.AI_CACHE_READ_COST: amounts.cache_read_pico_usd / PICO_PER_USD,
        names.AI_CACHE_WRITE_COST: amounts.cache_write_pico_usd / PICO_PER_USD,
        names.AI_OUTPUT_COST: amounts.output_pico_usd / PICO_PER_USD,
        names.AI_REQUEST_COST: amounts.request_pico_usd / PICO_PER_USD,
        names.AI_WEB_SEARCH_COST: amounts.web_search_pico_usd / PICO_PER_USD,
        names.AI_TOTAL_COST: amounts.total_pico_usd / PICO_PER_USD,
        names.AI_COST_PASSTHROUGH: True,
    }


def _ours(entry: Entry, generation: Generation) -> dict[str, Any]:
    return {
        names.AI_PRODUCT: entry.product,
        names.TEAM: generation.team_name,
        names.TEAM_ID: entry.team_id,
        names.API_KEY_ID: entry.api_key_id,
        names.BUDGET_STATUS: entry.budget_status,
        names.SAVE_MODE: generation.save_mode,
        names.CACHE_TTL_UPGRADED: entry.cache_ttl_upgraded,
        names.USAGE_SOURCE: entry.usage_source,
        names.CLIENT_ABORTED: entry.client_aborted,
        names.REQUEST_MODEL: entry.request_model,
        names.DIALECT: entry.dialect,
        names.PRICE_VERSION: entry.price_version,
        names.PRICE_IS_CEILING: entry.is_ceiling,
    }


def _add_content(properties: dict[str, Any], generation: Generation) -> None:
    for name, text in (
        (names.AI_INPUT, generation.input_json),
        (names.AI_OUTPUT_CHOICES, generation.output_json),
    ):
        if text is None:
            continue
        try:
            properties[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            # A completion that was cut is not whole JSON; its text still says what came.
            properties[name] = text


def serialised_event(settlement: Settlement, *, with_content: bool = True) -> bytes:
    """The message as JSON.

    Raises:
        TypeError: some text is not valid Unicode, or a count does not fit 64 bits.
    """
    return orjson.dumps(event_for(settlement, with_content=with_content))
