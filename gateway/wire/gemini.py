"""Gemini's generateContent: usage metadata, served tier, grounding, and why an answer ended."""

import re
from collections.abc import Mapping

from gateway.domain.usage import PriceSelectors, Usage
from gateway.wire.counts import CountReader, output_left
from gateway.wire.json_values import NAME_CHARS_MAX, count_or_none, member, members, text

_Json = Mapping[str, object]

# Through Google's own clients that dump enums as numbers, these arrive as such.
# Source: google.cloud.aiplatform.v1 protocol buffers.
_MODALITIES = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}
_TRAFFIC_TYPES = {0: "TRAFFIC_TYPE_UNSPECIFIED", 1: "ON_DEMAND", 2: "PROVISIONED_THROUGHPUT"}
_FINISH_REASONS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}
# Vertex names the tier inside the kind of traffic. Source: js-genai enum TrafficType.
_TIERS = {"ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}
# Grounding is charged by the prompt up to Gemini 2.5, by the query from Gemini 3 on.
_CHARGED_BY_PROMPT = re.compile(r"(?:^|/)gemini-[12]\.")


def has_prompt_count(usage: _Json) -> bool:
    """Vertex sends chunks whose metadata only names the kind of traffic."""
    return count_or_none(usage, "promptTokenCount") is not None


def has_output_count(usage: _Json) -> bool:
    """What was written is counted; where nothing was, Google leaves the count out."""
    names = ("candidatesTokenCount", "thoughtsTokenCount")
    return any(count_or_none(usage, name) is not None for name in names)


def usage_from(usage: _Json, reader: CountReader) -> Usage:
    """Disjoint counts of `usageMetadata`, searches left out.

    The prompt includes what was cached and leaves out what tools read; the candidates leave out
    the thoughts. Sound, images and video are taken out of the text by the lists of modalities.
    """
    prompt = reader.count(usage, "promptTokenCount")
    prompt += reader.count(usage, "toolUsePromptTokenCount")
    cached = reader.count(usage, "cachedContentTokenCount")
    cached_audio = min(_of_modality(usage, "cacheTokensDetails", "AUDIO"), cached)
    cached_image = min(_of_modality(usage, "cacheTokensDetails", "IMAGE"), cached)
    fresh = reader.rest(prompt, cached)
    audio = min(max(_read(usage, "AUDIO") - cached_audio, 0), fresh)
    image = min(max(_read(usage, "IMAGE") - cached_image, 0), fresh - audio)
    thoughts = reader.count(usage, "thoughtsTokenCount")
    candidates = reader.count(usage, "candidatesTokenCount")
    spoken = min(_of_modality(usage, "candidatesTokensDetails", "AUDIO"), candidates)
    drawn = min(_of_modality(usage, "candidatesTokensDetails", "IMAGE"), candidates - spoken)
    filmed = min(_filmed(usage), candidates - spoken - drawn)
    return Usage(
        input_uncached_tokens=fresh - audio - image,
        cache_read_tokens=cached - cached_audio,
        cache_read_audio_tokens=cached_audio,
        input_audio_tokens=audio,
        input_image_tokens=image,
        output_tokens=candidates - spoken - drawn - filmed + thoughts,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        output_video_tokens=filmed,
        reasoning_tokens=thoughts,
    )


def output_by_total(usage: _Json) -> int:
    """The output by the total, where a count of it cannot be read."""
    return output_left(
        usage,
        totals=("totalTokenCount",),
        inputs=("promptTokenCount", "toolUsePromptTokenCount"),
        outputs=("candidatesTokenCount", "thoughtsTokenCount"),
    )


def has_filmed(usage: _Json) -> bool:
    """More video than output, so that some of it has no count."""
    return _filmed(usage) > (count_or_none(usage, "candidatesTokenCount") or 0)


def _filmed(usage: _Json) -> int:
    return _of_modality(usage, "candidatesTokensDetails", "VIDEO")


def _read(usage: _Json, modality: str) -> int:
    return _of_modality(usage, "promptTokensDetails", modality) + _of_modality(
        usage, "toolUsePromptTokensDetails", modality
    )


def _of_modality(usage: _Json, name: str, modality: str) -> int:
    return sum(
        count_or_none(item, "tokenCount") or 0
        for item in members(usage, name)
        if _named(item, "modality", _MODALITIES) == modality
    )


def selectors_from(usage: _Json) -> PriceSelectors:
    """AI Studio says `serviceTier`, Vertex `trafficType`."""
    tier = text(usage, "serviceTier") or _named(usage, "trafficType", _TRAFFIC_TYPES)
    return PriceSelectors(service_tier=None if tier is None else _TIERS.get(tier, tier))


def search_queries(chunk: _Json) -> int:
    """Queries that Google Search was asked for this answer, over all its candidates."""
    return sum(
        len(queries)
        for candidate in members(chunk, "candidates")
        if isinstance(
            queries := member(candidate, "groundingMetadata").get("webSearchQueries"), list
        )
    )


def billed_searches(queries: int, model: str) -> int:
    """How many times the fee of this model's grounding applies."""
    return min(queries, 1) if _CHARGED_BY_PROMPT.search(model) else queries


def stop_reason(chunk: _Json) -> str | None:
    """Why the first candidate ended, or why the prompt was refused."""
    for candidate in members(chunk, "candidates"):
        if (reason := _named(candidate, "finishReason", _FINISH_REASONS)) is not None:
            return reason
    return text(member(chunk, "promptFeedback"), "blockReason")


def error_from(chunk: _Json) -> str | None:
    """The status of an error object, `RESOURCE_EXHAUSTED` and its like."""
    error = member(chunk, "error")
    return text(error, "status") or ("error" if error else None)


def _named(holder: _Json, name: str, numbers: Mapping[int, str]) -> str | None:
    value = holder.get(name)
    if type(value) is int:
        return numbers.get(value, str(value)[:NAME_CHARS_MAX])
    return text(holder, name)
