"""The facts of a request in any dialect: from its body, and from its path where that names them."""

import re
from collections.abc import Mapping
from typing import Any

from gateway.domain.errors import InvalidRequestError
from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.value import Value
from gateway.wire import bedrock
from gateway.wire.multipart import form_fields
from gateway.wire.output_limits import (
    BEDROCK_LIMITS,
    MAX_TOKENS_MAX,
    MORE_FIELDS,
    bedrock_limit,
    largest,
)
from gateway.wire.request_body import (
    MODEL_LENGTH_MAX,
    breakpoints,
    read_request,
    split_body,
)
from gateway.wire.request_names import BudgetNames

_STREAMING_ACTIONS = frozenset(
    {"streamGenerateContent", "invoke-with-response-stream", "converse-stream"}
)
# Sound is some ten tokens a second and, at common rates, some sixteen kilobytes; at the lowest a
# kilobyte. Counted as a hundredth of its bytes it is bounded by a token a byte like all bodies.
_SOUND_BYTES_PER_BYTE = 100
# Google's parser takes both spellings; the larger one bounds the cost.
_GEMINI_LIMITS = (
    ("generationConfig", "maxOutputTokens"),
    ("generationConfig", "max_output_tokens"),
    ("generation_config", "maxOutputTokens"),
    ("generation_config", "max_output_tokens"),
)
_GEMINI_CHOICES = (
    ("generationConfig", "candidateCount"),
    ("generationConfig", "candidate_count"),
    ("generation_config", "candidateCount"),
    ("generation_config", "candidate_count"),
)
_CHOICES_MAX = 128
_CACHE_POINT, _ONE_HOUR = b'"cachePoint"', b'"1h"'
_cache_points_in = re.compile(rb'"cachePoint"\s*:\s*\{[^{}]*\}').findall
_GEMINI_NAMES = BudgetNames(
    [*_GEMINI_LIMITS, *_GEMINI_CHOICES, ("serviceTier",), ("service_tier",)]
)
_BEDROCK_NAMES = BudgetNames(
    [
        *BEDROCK_LIMITS,
        (MORE_FIELDS,),
        ("serviceTier", "type"),
        ("service_tier", "type"),
        ("performanceConfig", "latency"),
        ("tools",),
    ]
)


class RequestTarget(Value, frozen=True, kw_only=True):
    """What the route says of a request; model and action only where the path has them."""

    dialect: Dialect
    model: str | None = None
    action: str | None = None
    content_type: str = "application/json"
    service_tier: str | None = None
    latency: str | None = None
    """Bedrock's tier and latency, which an invocation asks for in headers."""


def read_facts(target: RequestTarget, body: bytes) -> RequestFacts:
    """Read the facts of a request.

    Raises:
        InvalidRequestError: as `read_request`.
    """
    if target.dialect is Dialect.OPENAI_TRANSCRIPTIONS:
        return _of_form(body, target.content_type)
    if target.model is not None:
        return _of_path(target, target.model, body)
    return read_request(target.dialect, body)


def _of_form(body: bytes, content_type: str) -> RequestFacts:
    fields = form_fields(body, content_type)
    model = fields.get("model")
    if model is None or not model.text.strip() or not model.text.isprintable():
        raise InvalidRequestError("`model` is missing: name a model in the form.")
    if len(model.text) > MODEL_LENGTH_MAX:
        raise InvalidRequestError(f"`model` is longer than {MODEL_LENGTH_MAX} characters.")
    stream = fields.get("stream")
    return RequestFacts(
        model=model.text,
        is_streaming=stream is not None and stream.text.strip().lower() in {"true", "1"},
        body_bytes=max(1, len(body) // _SOUND_BYTES_PER_BYTE),
    )


def _of_path(target: RequestTarget, model: str, body: bytes) -> RequestFacts:
    is_gemini = target.dialect is Dialect.GEMINI
    members, document = split_body(body, _GEMINI_NAMES if is_gemini else _BEDROCK_NAMES)
    if is_gemini:
        limit = largest(document, _GEMINI_LIMITS, MAX_TOKENS_MAX)
    else:
        limit = bedrock_limit(document, model, target.action, members)
    return RequestFacts(
        model=model,
        is_streaming=target.action in _STREAMING_ACTIONS,
        body_bytes=len(body),
        max_output_tokens=limit,
        choice_count=(largest(document, _GEMINI_CHOICES, _CHOICES_MAX) or 1) if is_gemini else 1,
        service_tier=target.service_tier or _tier(document, is_gemini=is_gemini),
        speed=None if is_gemini else target.latency or bedrock.latency(document),
        cache_ttls=() if is_gemini else breakpoints(members, body) or _cache_points(body),
    )


def _tier(document: Mapping[str, Any], *, is_gemini: bool) -> str | None:
    """The tier under either spelling of its name; Google's parser takes both."""
    tier = _tier_under("serviceTier", document, is_gemini=is_gemini)
    other = _tier_under("service_tier", document, is_gemini=is_gemini)
    if tier is not None and other is not None and tier != other:
        raise InvalidRequestError("`serviceTier` and `service_tier` differ: send one of them.")
    return other if tier is None else tier


def _tier_under(name: str, document: Mapping[str, Any], *, is_gemini: bool) -> str | None:
    """Gemini has it as a string; Bedrock as that, or as an object with a type."""
    tier = document.get(name)
    if isinstance(tier, dict) and not is_gemini:
        tier = tier.get("type")
    if tier is not None and type(tier) is not str:
        raise InvalidRequestError(f"`{name}` must be a string.")
    return tier


def _cache_points(body: bytes) -> tuple[str, ...]:
    """The TTLs of Converse's own breakpoints, each once.

    Where something says an hour and not every breakpoint does, they may be of both kinds.
    """
    if _CACHE_POINT not in body:
        return ()
    if _ONE_HOUR not in body:
        return ("5m",)
    hours = sum(_ONE_HOUR in point for point in _cache_points_in(body))
    return ("1h",) if hours == body.count(_CACHE_POINT) else ("5m", "1h")
