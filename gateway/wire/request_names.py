"""Refuses bodies in which a field that concerns the budget may mean two things to two parsers."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.domain.errors import InvalidRequestError
from gateway.wire.json_spans import JsonSpans, Member, SpanError
from gateway.wire.top_level import Members, is_each_name_plain_and_once, members_of


class BudgetNames:
    """Names that routing, holds and prices go by, some of them inside of others.

    A parser that takes the first of two, or one that ignores case (Go's), would run another request
    than the one that was paid for.
    """

    def __init__(self, paths: Iterable[Sequence[str]]) -> None:
        inner: dict[str, list[Sequence[str]]] = {}
        for top, *rest in paths:
            inner.setdefault(top, []).extend([rest] if rest else [])
        self.names = frozenset(inner)
        self.by_folded = {name.lower(): name for name in inner}
        self.inside = {top: BudgetNames(found) for top, found in inner.items() if found}


BODY_NAMES = BudgetNames(
    [
        ("model",),
        ("models",),
        ("fallbacks",),
        ("max_tokens",),
        ("max_completion_tokens",),
        ("max_output_tokens",),
        ("background",),
        ("best_of",),
        ("n",),
        ("stream",),
        ("stream_options", "include_usage"),
        ("service_tier",),
        ("speed",),
        ("inference_geo",),
        ("prompt",),
        ("tools",),
    ]
)


def refuse_ambiguous_names(
    members: Members, document: dict[str, Any], body: bytes, names: BudgetNames = BODY_NAMES
) -> None:
    """Check the names at the top level, and inside those that hold others.

    Raises:
        InvalidRequestError: one of ours stands there twice, in escapes, or in look-alike letters.
    """
    _refuse_look_alikes(members, names)
    # What a serialiser wrote has each name once: seen in a tenth of the time of looking at each.
    is_proven = is_each_name_plain_and_once(members, body)
    for name, inside in names.inside.items():
        if isinstance(holder := document.get(name), dict):
            _refuse_look_alikes(holder, inside)
            is_proven = is_proven and _is_proven(members[name])
    if is_proven:
        return
    try:
        spans = JsonSpans(body)
        _refuse_duplicates(spans, spans.top_members(), names)
    except SpanError:
        raise InvalidRequestError("The request body is not valid JSON.") from None


def _is_proven(holder: msgspec.Raw) -> bool:
    text = bytes(holder)
    return is_each_name_plain_and_once(members_of(text), text)


def _refuse_look_alikes(holder: Iterable[str], names: BudgetNames) -> None:
    for name in holder:
        if name in names.names:
            continue
        folded = name.lower() if name.isascii() else _folded(name)
        if (plain := names.by_folded.get(folded)) is not None:
            raise InvalidRequestError(
                f"The request body has a field {name!r}: write it {plain!r}, once."
            )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _refuse_duplicates(spans: JsonSpans, members: Iterable[Member], names: BudgetNames) -> None:
    seen: set[str] = set()
    for member in members:
        name = spans.name(member)
        if name not in names.names:
            continue
        if name in seen:
            raise InvalidRequestError(
                f"The request body has the field {name!r} twice: send it once."
            )
        if spans.raw(member.name) != b'"%s"' % name.encode():
            raise InvalidRequestError(
                f"The request body writes the field {name!r} with escapes: write it plainly."
            )
        seen.add(name)
        inside = names.inside.get(name)
        if inside is not None and spans.is_object(member.value):
            _refuse_duplicates(spans, spans.members(member.value), inside)
