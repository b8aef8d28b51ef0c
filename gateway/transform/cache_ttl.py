"""Save Mode: cache breakpoints that the client set without a TTL get one of an hour.

`{"type":"ephemeral"}` becomes `{"type":"ephemeral","ttl":"1h"}`; every other byte stays the
client's. The one replacement is that of a TTL that is `null`.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from gateway.wire.cache_breakpoints import CACHE_CONTROL, CONTENT_NESTING_MAX
from gateway.wire.json_spans import JsonSpans, Span, SpanError

_ONE_HOUR = "1h"
_TTL_MEMBER = b',"ttl":"1h"'
_TTL_VALUE = b'"1h"'
_TOP_NAMES = frozenset({"tools", "system", "messages", CACHE_CONTROL})
_BLOCK_NAMES = frozenset({"content", "source", CACHE_CONTROL})
_OWN_NAMES = frozenset({CACHE_CONTROL})
_CONTENT_NAMES = frozenset({"content"})
_CONTROL_NAMES = frozenset({"type", "ttl"})
# The name itself, and escaped letters (or the underscore), in which the name may be written.
_candidates = re.compile(rb"cache_control|\\u00(?:5[fF]|6|7)").finditer


@dataclass(frozen=True, slots=True)
class TtlUpgrade:
    """The body that goes upstream, and how many breakpoints in it were upgraded."""

    body: bytes
    upgraded: int


@dataclass(frozen=True, slots=True)
class _Splice:
    """Bytes to put in the place of `span`, which is empty for an insertion."""

    span: Span
    text: bytes


def upgrade_cache_ttl(body: bytes) -> TtlUpgrade:
    """Upgrade the breakpoints without a TTL, as far as the provider's order of TTLs allows.

    No one-hour breakpoint may follow a shorter one in the order of evaluation (tools, system,
    messages, the automatic one last), so from the first one that is explicitly shorter, or that we
    do not understand, nothing more is upgraded. A body in which a name on the way to a breakpoint
    stands twice is left as it is, as is one that is not JSON.
    """
    if b"cache_control" not in body:
        return TtlUpgrade(body, 0)
    try:
        splices = list(_splices(JsonSpans(body)))
    except SpanError:
        return TtlUpgrade(body, 0)
    if not splices:
        return TtlUpgrade(body, 0)
    pieces: list[bytes] = []
    position = 0
    for splice in sorted(splices, key=lambda splice: splice.span):
        pieces += (body[position : splice.span.start], splice.text)
        position = splice.span.end
    pieces.append(body[position:])
    return TtlUpgrade(b"".join(pieces), len(splices))


def _splices(spans: JsonSpans) -> Iterator[_Splice]:
    may_upgrade = True
    # All are read, the later ones too: a doubtful name anywhere leaves the whole body alone.
    for control in _Breakpoints(spans).in_order():
        found = spans.find(control, _CONTROL_NAMES)
        ttl = found.get("ttl")
        is_set = ttl is not None and spans.raw(ttl) != b"null"
        if is_set and _text(spans, ttl) == _ONE_HOUR:
            continue
        if is_set or _text(spans, found.get("type")) != "ephemeral":
            may_upgrade = False
        if may_upgrade and ttl is not None:
            yield _Splice(ttl, _TTL_VALUE)
        elif may_upgrade:
            end = max(member.value.end for member in spans.members(control))
            yield _Splice(Span(end, end), _TTL_MEMBER)


def _text(spans: JsonSpans, span: Span | None) -> str | None:
    """A string's value; None for anything else."""
    if span is None or not (raw := spans.raw(span)).startswith(b'"'):
        return None
    return str(orjson.loads(raw))


class _Breakpoints:
    """Finds the breakpoints where the provider looks for them, and nowhere else.

    What looks like one inside a tool's schema, a tool's input or a text is data. An item is opened
    only where the name, or an escape that may spell it, lies within.
    """

    def __init__(self, spans: JsonSpans) -> None:
        self._spans = spans
        self._candidates = [match.start() for match in _candidates(spans.body)]

    def in_order(self) -> Iterator[Span]:
        """The `cache_control` objects in the order of evaluation."""
        spans = self._spans
        if not spans.is_object(spans.top()):
            return
        top = spans.find(spans.top(), _TOP_NAMES)
        for tool in self._objects(top.get("tools")):
            yield from self._own(spans.find(tool, _OWN_NAMES))
        yield from self._of_blocks(top.get("system"), nesting=1)
        for message in self._objects(top.get("messages")):
            content = spans.find(message, _CONTENT_NAMES).get("content")
            yield from self._of_blocks(content, nesting=1)
        yield from self._own(top)

    def _of_blocks(self, blocks: Span | None, *, nesting: int) -> Iterator[Span]:
        if nesting > CONTENT_NESTING_MAX:
            return
        for block in self._objects(blocks):
            found = self._spans.find(block, _BLOCK_NAMES)
            # What a block holds ends before the block does.
            yield from self._of_blocks(found.get("content"), nesting=nesting + 1)
            source = found.get("source")
            if source is not None and self._spans.is_object(source):
                held = self._spans.find(source, _CONTENT_NAMES)
                yield from self._of_blocks(held.get("content"), nesting=nesting + 1)
            yield from self._own(found)

    def _own(self, found: dict[str, Span]) -> Iterator[Span]:
        control = found.get(CACHE_CONTROL)
        if control is not None and self._spans.is_object(control):
            yield control

    def _objects(self, span: Span | None) -> Iterator[Span]:
        if span is None or not self._spans.is_array(span):
            return
        for item in self._spans.items(span):
            if self._spans.is_object(item) and self._has_candidate(item):
                yield item

    def _has_candidate(self, span: Span) -> bool:
        index = bisect_left(self._candidates, span.start)
        return index < len(self._candidates) and self._candidates[index] < span.end
