"""Byte offsets of the members and items of a JSON text, for splices that leave the rest alone."""

import re
import sys
from collections.abc import Collection, Iterator
from typing import NamedTuple

import orjson

_QUOTE, _OPEN_OBJECT, _OPEN_ARRAY = b'"{['
_OPENING = (_OPEN_OBJECT, _OPEN_ARRAY)
_CLOSING = b"}]"


class SpanError(ValueError):
    """The text is not what its caller took it for: not JSON, or a name stands there twice."""


class Span(NamedTuple):
    """A value's place: `start` is its first byte, `end` the byte after its last."""

    start: int
    end: int


class Member(NamedTuple):
    """One member of an object as it was written: its name, quotes included, and its value."""

    name: Span
    value: Span


# Escaped quotes are masked before any of these looks at the text, so a string ends at a quote.
_skip_space = re.compile(rb"[ \t\r\n]*+").match
_string = re.compile(rb'"[^"]*"').match
_scalar = re.compile(rb'[^][{}",: \t\r\n]++').match
_member_head = re.compile(rb'[ \t\r\n]*+("[^"]*")[ \t\r\n]*+:[ \t\r\n]*+').match
_separator = re.compile(rb"[ \t\r\n]*+([,}\]])").match
_to_bracket = re.compile(rb'[^"\[\]{}]*+(?:"[^"]*"[^"\[\]{}]*+)*+').match


def _container(nesting: int) -> re.Pattern[bytes]:
    """A whole array or object whose brackets nest no deeper than this, found in one match."""
    inner = rb"(?!)"
    for _ in range(nesting):
        inner = rb'[\[{][^"\[\]{}]*+(?:(?:"[^"]*"|' + inner + rb')[^"\[\]{}]*+)*+[\]}]'
    return re.compile(inner)


# CPython before 3.11.5 does not step back out of a possessive group that fails half-way
# (python/cpython#106052), as this one does where brackets nest deeper than it knows.
_container_match = _container(10 if sys.version_info >= (3, 11, 5) else 1).match


class JsonSpans:
    """Finds values by their place in a JSON text.

    The text must have been accepted by a strict parser: only its shape is looked at here. Strings
    and containers are stepped over by regular expressions, so a walk costs as much as what it
    looks at, not as much as all there is.

    Raises:
        SpanError: from any method, where the text turns out not to be JSON after all.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self._text = _with_escapes_masked(body)
        match = _skip_space(self._text)
        self._start = match.end() if match else 0

    def top(self) -> Span:
        """The document's one value."""
        return Span(self._start, self._value_end(self._start))

    def top_members(self) -> Iterator[Member]:
        """The members of the object that the document is, without first looking for its end."""
        return self.members(Span(self._start, len(self.body)))

    def is_object(self, span: Span) -> bool:
        return self._text[span.start] == _OPEN_OBJECT

    def is_array(self, span: Span) -> bool:
        return self._text[span.start] == _OPEN_ARRAY

    def raw(self, span: Span) -> bytes:
        """The value's bytes as they stand in the text."""
        return self.body[span.start : span.end]

    def name(self, member: Member) -> str:
        """A member's name with its escapes resolved."""
        raw = self.raw(member.name)
        try:
            return str(orjson.loads(raw)) if b"\\" in raw else raw[1:-1].decode()
        except ValueError as exc:
            raise SpanError("not a name") from exc

    def members(self, span: Span) -> Iterator[Member]:
        """The members of an object in the order in which they were written, duplicates too."""
        text, position = self._text, span.start + 1
        if self._closes(position):
            return
        while True:
            head = _member_head(text, position)
            if head is None:
                raise SpanError(f"no member at byte {position}")
            start = head.end()
            end = self._value_end(start)
            yield Member(Span(*head.span(1)), Span(start, end))
            position, is_last = self._after(end)
            if is_last:
                return

    def find(self, span: Span, names: Collection[str]) -> dict[str, Span]:
        """The values of those of the object's members that have one of these names.

        Raises:
            SpanError: one of the names stands there twice, so parsers disagree on its value.
        """
        found: dict[str, Span] = {}
        for member in self.members(span):
            name = self.name(member)
            if name in names:
                if name in found:
                    raise SpanError(f"{name!r} stands there twice")
                found[name] = member.value
        return found

    def items(self, span: Span) -> Iterator[Span]:
        """The items of an array."""
        text, position = self._text, span.start + 1
        if self._closes(position):
            return
        while True:
            space = _skip_space(text, position)
            start = space.end() if space else position
            end = self._value_end(start)
            yield Span(start, end)
            position, is_last = self._after(end)
            if is_last:
                return

    def _closes(self, position: int) -> bool:
        separator = _separator(self._text, position)
        return separator is not None and separator[1] != b","

    def _after(self, position: int) -> tuple[int, bool]:
        separator = _separator(self._text, position)
        if separator is None:
            raise SpanError(f"nothing follows the value that ends at byte {position}")
        return separator.end(), separator[1] != b","

    def _value_end(self, start: int) -> int:
        text = self._text
        first = text[start] if start < len(text) else 0
        if first in _OPENING:
            match = _container_match(text, start)
            return match.end() if match else self._deep_container_end(start)
        match = _string(text, start) if first == _QUOTE else _scalar(text, start)
        if match is None:
            raise SpanError(f"no value at byte {start}")
        return match.end()

    def _deep_container_end(self, position: int) -> int:
        """One bracket at a time: slower, for any depth, and still linear."""
        text, depth = self._text, 0
        while match := _to_bracket(text, position):
            position = match.end()
            if position >= len(text):
                break
            depth += -1 if text[position] in _CLOSING else 1
            position += 1
            if depth == 0:
                return position
        raise SpanError("a bracket is never closed")


def _with_escapes_masked(body: bytes) -> bytes:
    """The same length and structure with no escaped quote left.

    Replacing pairs of backslashes from left to right resolves runs of them as a parser does: what
    is left before a quote is the backslash that escapes it.
    """
    if b"\\" not in body:
        return body
    return body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
