"""Server-sent events: where they end in a stream of bytes, and what one of them holds.

Source: WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6.
"""

from collections.abc import Iterator
from typing import NamedTuple

EVENT_BYTES_MAX = 1 << 20
"""Longer events are let go: few that a meter needs come near it."""
_BLANK_LINE = b"\n\n"
_UTF8_BOM = b"\xef\xbb\xbf"
_CARRIAGE_RETURN = 13


class SseEvent(NamedTuple):
    """One event; `type` is empty where its `event:` line is missing."""

    type: bytes
    data: bytes


class EventFramer:
    """Cuts a stream into whole events, whatever the split of its bytes.

    What `feed` returns are blocks: events as they came, each with its blank line, but with LF as
    the only line ending. Pieces longer than `event_bytes_max` have to be fed in parts.
    """

    __slots__ = (
        *("_after_carriage_return", "_event_bytes_max", "_is_plain", "_is_started"),
        *("_lost", "_tail", "losses"),
    )

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self.losses = 0
        """Events let go because they were too long."""
        # Plain: what has come so far ended with whole events.
        self._is_plain = False
        self._is_started = False
        self._after_carriage_return = False
        # Kept in parts, so that an event in many pieces is joined once.
        self._tail = bytearray()
        self._lost = False

    def feed(self, piece: bytes) -> bytes:
        if self._is_plain and _CARRIAGE_RETURN not in piece and piece.endswith(_BLANK_LINE):
            return piece
        if self._after_carriage_return or _CARRIAGE_RETURN in piece:
            piece = self._with_line_feeds(piece)
        return self._whole_events(piece)

    def finish(self) -> bytes:
        """An event whose blank line never came, with one; it may lack more than that."""
        rest, self._tail = bytes(self._tail), bytearray()
        self._is_plain = False
        if self._lost or len(rest) > self._event_bytes_max:
            self.losses += 1
            self._lost = False
            return b""
        return self._without_mark(rest) + _BLANK_LINE if rest else b""

    def _with_line_feeds(self, piece: bytes) -> bytes:
        if self._after_carriage_return and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_carriage_return = False
        if piece:
            self._after_carriage_return = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _whole_events(self, piece: bytes) -> bytes:
        tail = self._tail
        end = piece.rfind(_BLANK_LINE) + len(_BLANK_LINE)
        if end < len(_BLANK_LINE):
            # A blank line may lie across the seam.
            end = 1 if piece.startswith(b"\n") and tail.endswith(b"\n") else 0
        if end == 0:
            tail += piece
            self._is_plain = False
            self._shorten()
            return b""
        blocks = bytes(tail) + piece[:end] if tail else piece[:end]
        if self._lost or len(blocks) > self._event_bytes_max:
            blocks = self._without_long_event(blocks)
        tail[:] = piece[end:]
        self._is_plain = not tail and not self._after_carriage_return
        return self._without_mark(blocks)

    def _without_long_event(self, blocks: bytes) -> bytes:
        """Only the first can be too long: no piece is longer than an event may be."""
        first = blocks.find(_BLANK_LINE)
        if not self._lost and first <= self._event_bytes_max:
            return blocks
        self.losses += 1
        self._lost = False
        self._is_started = True
        return blocks[first + len(_BLANK_LINE) :]

    def _shorten(self) -> None:
        """Of an event that is too long only the last byte is kept, which may begin its end."""
        if self._lost or len(self._tail) > self._event_bytes_max + 1:
            self._lost = True
            del self._tail[:-1]

    def _without_mark(self, blocks: bytes) -> bytes:
        if self._is_started or not blocks:
            return blocks
        self._is_started = True
        return blocks.removeprefix(_UTF8_BOM)


def event_span(blocks: bytes, index: int) -> tuple[int, int]:
    """Start and end of the event around a byte of blocks, its blank line included."""
    start = blocks.rfind(_BLANK_LINE, 0, index)
    end = blocks.find(_BLANK_LINE, index)
    return (
        0 if start < 0 else start + len(_BLANK_LINE),
        len(blocks) if end < 0 else end + len(_BLANK_LINE),
    )


def event_spans(blocks: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each event in turn."""
    start = 0
    while start < len(blocks):
        end = blocks.find(_BLANK_LINE, start)
        end = len(blocks) if end < 0 else end + len(_BLANK_LINE)
        yield start, end
        start = end


def parse_event(block: bytes) -> SseEvent:
    """The event in a block; one that has no `data:` line at all has no data."""
    # The common framing: one data line, perhaps with an event line before it.
    head, separator, data = block.partition(b"data: ")
    if separator and data.endswith(_BLANK_LINE):
        data = data[: -len(_BLANK_LINE)]
        if b"\n" not in data:
            if not head:
                return SseEvent(b"", data)
            if head.startswith(b"event: ") and head.find(b"\n") == len(head) - 1:
                return SseEvent(head[len(b"event: ") : -1], data)
    return _parse_lines(block)


def _parse_lines(block: bytes) -> SseEvent:
    event_type = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event_type = value
    return SseEvent(event_type, b"\n".join(data))
