"""OpenAI chat, completions and embeddings, and those who speak like them: usage and content."""

import re
from collections.abc import Mapping

from gateway.domain.usage import Usage
from gateway.wire.counts import CountReader, output_left
from gateway.wire.json_values import NAME_CHARS_MAX, member, members

_OPENAI = frozenset({"openai", "azure_openai"})
# Source: OpenAI API reference, web search in Chat Completions.
_SEARCHES_ALWAYS = re.compile(r"-search-(?:preview|api)")
_GOOGLE = frozenset({"gemini", "google"})
# Where each of them puts the cached part of the prompt, beside OpenAI's own place.
_CACHED_ELSEWHERE = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
_SEARCHES = ("server_tool_use", "server_tool_use_details")
# Two names of one thing; some send both.
_REASONINGS = ("reasoning_content", "reasoning")
_TEXTS = ("content", "text", "thinking", "refusal", "transcript", "arguments", "name")


def usage_object(document: Mapping[str, object]) -> Mapping[str, object]:
    """The usage of a chunk or a body, empty where it has none."""
    usage = member(document, "usage") or member(member(document, "x_groq"), "usage")
    if usage:
        return usage
    # Moonshot puts it into the choice.
    return next(
        (found for each in members(document, "choices") if (found := member(each, "usage"))), {}
    )


def error_type(error: object) -> str:
    """The type or code of an error inside an answer of status 200; some codes are numbers."""
    for name in ("type", "code"):
        value = error.get(name) if isinstance(error, dict) else None
        if isinstance(value, str | int) and value:
            return str(value)[:NAME_CHARS_MAX]
    return "error"


def is_last_usage(document: Mapping[str, object]) -> bool:
    """Running usage comes with content; the last comes with a finish, or without any choice."""
    choices = members(document, "choices")
    return not choices or any(choice.get("finish_reason") for choice in choices)


def has_half(fields: Mapping[str, object]) -> bool:
    """Of what was read, or of what was written, there is no count."""
    return fields.get("prompt_tokens") is None or not has_completion(fields)


def has_completion(fields: Mapping[str, object]) -> bool:
    return fields.get("completion_tokens") is not None


def usage_from(
    fields: Mapping[str, object], provider: str, reader: CountReader, *, has_output: bool = True
) -> Usage:
    """Our disjoint counts of overlapping ones; without output the total is the prompt."""
    details = member(fields, "prompt_tokens_details")
    prompt = reader.count(fields, "prompt_tokens", *(() if has_output else ("total_tokens",)))
    cached = reader.count(details, "cached_tokens") or reader.count(fields, *_CACHED_ELSEWHERE)
    written = reader.count(details, "cache_write_tokens")
    audio = reader.count(details, "audio_tokens")
    image = reader.count(details, "image_tokens")
    completion = reader.count(fields, "completion_tokens")
    total = reader.count(fields, "total_tokens")
    if has_output and total and has_completion(fields) and fields.get("prompt_tokens") is None:
        prompt = reader.rest(total, completion)
    # Mistral counts audio beside the prompt; only the total shows on which side it is.
    is_beside = audio > 0 and total == prompt + completion + audio
    inside = 0 if is_beside else audio
    # Cached tokens may be audio or images too: what does not fit beside them is. Cached images
    # have no rate of their own and stay with the cached text.
    overlap = max(cached + written + inside + image - prompt, 0)
    cached_audio = min(overlap, inside, cached)
    cached_image = min(overlap - cached_audio, image, cached - cached_audio)
    image -= cached_image
    uncached = reader.rest(prompt, cached - cached_audio, written, inside, image)
    # What is beside is billed by its seconds. Source: Mistral's price page, Voxtral Small.
    audio_ms = 1000 * reader.count(fields, "prompt_audio_seconds") if is_beside else 0
    output, reasoning = _output(fields, (prompt, completion, total), provider, reader)
    written_as = member(fields, "completion_tokens_details")
    spoken = min(reader.count(written_as, "audio_tokens"), output)
    drawn = min(reader.count(written_as, "image_tokens"), output - spoken)
    told = output - spoken - drawn
    return Usage(
        input_uncached_tokens=uncached,
        cache_read_tokens=min(cached - cached_audio, prompt),
        cache_write_unsplit_tokens=min(written, prompt),
        input_audio_tokens=0 if audio_ms else audio - cached_audio,
        input_audio_ms=audio_ms,
        cache_read_audio_tokens=cached_audio,
        input_image_tokens=min(image, prompt),
        output_tokens=told,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        reasoning_tokens=min(reasoning, told),
        web_search_requests=max(
            reader.count(member(fields, name), "web_search_requests") for name in _SEARCHES
        ),
    )


def output_by_total(fields: Mapping[str, object]) -> int:
    """The output by the total, where its own count cannot be read."""
    return output_left(
        fields,
        totals=("total_tokens",),
        inputs=("prompt_tokens",),
        outputs=("completion_tokens",),
    )


def searches_always(provider: str, model: str) -> bool:
    """Models that search for every answer; the usage says neither that nor how often they did."""
    return provider in _OPENAI and _SEARCHES_ALWAYS.search(model) is not None


def _output(
    fields: Mapping[str, object],
    counts: tuple[int, int, int],
    provider: str,
    reader: CountReader,
) -> tuple[int, int]:
    """Output with reasoning inside; a total that counts it beside says that it is not yet."""
    prompt, completion, total = counts
    reasoning = reader.count(member(fields, "completion_tokens_details"), "reasoning_tokens")
    if reasoning and total == prompt + completion + reasoning:
        return completion + reasoning, reasoning
    if provider in _GOOGLE and not reasoning and total > prompt + completion:
        # Thinking is billed as output, and nothing but the total counts it.
        return total - prompt, total - prompt - completion
    return completion, reasoning


def has_text(document: Mapping[str, object]) -> bool:
    """Whether the model has written something in a chunk or a body."""
    for choice in members(document, "choices"):
        message = member(choice, "delta") or member(choice, "message")
        if message.get("content") or choice.get("text"):
            return True
    return text_bytes(document) > 0


def text_bytes(document: Mapping[str, object]) -> int:
    """Bytes of everything that the model wrote in a chunk or a body: text, thinking, tool calls."""
    total = 0
    for choice in members(document, "choices"):
        message = member(choice, "delta") or member(choice, "message")
        calls = [member(call, "function") for call in members(message, "tool_calls")]
        total += _bytes_of(message) + sum(map(_bytes_of, calls)) + _bytes_of(choice.get("text"))
        total += _bytes_of(member(message, "function_call")) + _bytes_of(member(message, "audio"))
        total += max(_bytes_of(message.get(name)) for name in _REASONINGS)
    return total


def _bytes_of(value: object) -> int:
    """Bytes of a text, or of the texts in parts of content, of which nothing is promised."""
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, list):
        return sum(map(_bytes_of, value))
    return sum(_bytes_of(value.get(name)) for name in _TEXTS) if isinstance(value, dict) else 0
