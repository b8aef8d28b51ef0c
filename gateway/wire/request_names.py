"""Refuses bodies in which a field that concerns the budget may mean two things to two parsers."""

import unicodedata
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.domain.errors import InvalidRequestError
from gateway.wire.json_spans import JsonSpans, Member, SpanError
from gateway.wire.top_level import Members, is_each_name_plain_and_once, members_of

# What routing, holds and prices go by. A parser that takes the first of two, or one that ignores
# case (Go's), would run another request than the one that was paid for.
BUDGET_NAMES = frozenset(
    {
        "model",
        "models",
        "fallbacks",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "background",
        "best_of",
        "n",
        "stream",
        "stream_options",
        "service_tier",
        "speed",
        "inference_geo",
    }
)
_STREAM_OPTION_NAMES = frozenset({"include_usage"})


def refuse_ambiguous_names(members: Members, document: dict[str, Any], body: bytes) -> None:
    """Check the names at the top level and inside `stream_options`.

    Raises:
        InvalidRequestError: one of ours stands there twice, in escapes, or in look-alike letters.
    """
    _refuse_look_alikes(members, BUDGET_NAMES)
    options = document.get("stream_options")
    if isinstance(options, dict):
        _refuse_look_alikes(options, _STREAM_OPTION_NAMES)
    # What a serialiser wrote has each name once: seen in a tenth of the time of looking at each.
    is_proven = is_each_name_plain_and_once(members, body)
    if is_proven and (not isinstance(options, dict) or _is_proven(members["stream_options"])):
        return
    try:
        _refuse_duplicates(JsonSpans(body))
    except SpanError:
        raise InvalidRequestError("The request body is not valid JSON.") from None


def _is_proven(options: msgspec.Raw) -> bool:
    text = bytes(options)
    return is_each_name_plain_and_once(members_of(text), text)


def _refuse_look_alikes(holder: Iterable[str], names: frozenset[str]) -> None:
    for name in holder:
        if name in names:
            continue
        folded = name.lower() if name.isascii() else _folded(name)
        if folded in names:
            raise InvalidRequestError(
                f"The request body has a field {name!r}: write it {folded!r}, once."
            )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _refuse_duplicates(spans: JsonSpans) -> None:
    seen: set[str] = set()
    for member in spans.top_members():
        name = _checked_name(spans, member, BUDGET_NAMES, seen)
        if name == "stream_options" and spans.is_object(member.value):
            seen_options: set[str] = set()
            for option in spans.members(member.value):
                _checked_name(spans, option, _STREAM_OPTION_NAMES, seen_options)


def _checked_name(
    spans: JsonSpans, member: Member, names: frozenset[str], seen: set[str]
) -> str | None:
    name = spans.name(member)
    if name not in names:
        return None
    if name in seen:
        raise InvalidRequestError(f"The request body has the field {name!r} twice: send it once.")
    if spans.raw(member.name) != b'"%s"' % name.encode():
        raise InvalidRequestError(
            f"The request body writes the field {name!r} with escapes: write it plainly."
        )
    seen.add(name)
    return name
