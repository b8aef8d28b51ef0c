"""Asks an OpenAI-compatible provider for a stream's usage, and keeps the chunk of it back."""

import re

import orjson

from gateway.wire.json_spans import JsonSpans, Member, Span

_OPTIONS = b'{"include_usage":true}'
_MEMBER = b'"include_usage":true'
# The chunk is a few hundred bytes; an event that is longer is another one.
USAGE_CHUNK_BYTES_MAX = 16 * 1024
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
_FIELDS = (b"data", b"event", b"id", b"retry")

_has_usage = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*\{').search
_line_ends = re.compile(rb"[\r\n]*").match
_split_lines = re.compile(rb"\r\n|\n|\r").split
_event_end = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)").search
# An event of which so much has come is another one: its data is no object, or has a choice after
# members that are no containers. A line keeps what it has matched: a CRLF parted in two would let
# lines of them be tried in every combination.
_is_another = re.compile(
    rb"(?:(?!data)[^\r\n]*+[\r\n]++)*data: ?(?:[^\s{]|\{\s*"
    rb'(?:"[^"\\]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-+.0-9a-zA-Z]+)\s*,\s*)*'
    rb'"choices"\s*:\s*\[\s*[^\]\s])'
).match


def add_include_usage(body: bytes) -> bytes:
    """Set `stream_options.include_usage`; every byte outside the splice stays the client's.

    The body is one that has been read as a request: an object with members, in which neither name
    stands twice or in escapes, and the options are an object or null.
    """
    if b'"stream_options"' in body:
        spans = JsonSpans(body)
        for member in spans.top_members():
            if spans.name(member) == "stream_options":
                return _with_usage(spans, member.value)
    # Behind the last member, which ends before the last brace.
    at = body.rindex(b"}")
    if body[at - 1 : at].isspace():
        at = len(body[:at].rstrip())
    return _spliced(body, Span(at, at), b',"stream_options":' + _OPTIONS)


def _with_usage(spans: JsonSpans, options: Span) -> bytes:
    if not spans.is_object(options):
        return _spliced(spans.body, options, _OPTIONS)
    last: Member | None = None
    for member in spans.members(options):
        if spans.name(member) == "include_usage":
            return _spliced(spans.body, member.value, b"true")
        last = member
    if last is None:
        at = options.start + 1
        return _spliced(spans.body, Span(at, at), _MEMBER)
    at = last.value.end
    return _spliced(spans.body, Span(at, at), b"," + _MEMBER)


def _spliced(body: bytes, span: Span, text: bytes) -> bytes:
    view = memoryview(body)
    return b"".join((view[: span.start], text, view[span.end :]))


class UsageChunkFilter:
    """Takes the usage chunk out of a stream of events; all else passes, byte for byte, at once.

    Held until its end is known is only the beginning of an event that may still become that chunk.
    """

    def __init__(self) -> None:
        self._held = b""
        self._is_inside = False
        """Within an event that passes: what comes is its rest."""
        self._line_end = b""
        """The line breaks at the end of what has passed of that event."""
        self._drops_newline = False
        """What was held back ended with CR, whose LF may follow."""

    def feed(self, piece: bytes) -> bytes:
        """What may go on to the client now; the piece itself where nothing is held back."""
        is_between = not (self._held or self._is_inside or self._drops_newline)
        if is_between and piece.endswith(_EVENT_ENDS) and not _has_usage(piece):
            return piece
        data = self._held + piece
        self._held = b""
        position = 0
        if self._drops_newline and data:
            self._drops_newline = False
            position = int(data.startswith(b"\n"))
        out: list[bytes] = []
        if self._is_inside:
            position = self._pass_rest(data, out)
        if not self._is_inside and b"\r" not in data and not _has_usage(data):
            # All that is whole passes together.
            begin, last = position, data.rfind(b"\n\n", position)
            position = begin if last < 0 else last + 2
            out.append(data[begin:position])
        while position < len(data) and not self._is_inside:
            position = self._take_event(data, position, out)
        return out[0] if len(out) == 1 else b"".join(out)

    def finish(self) -> bytes:
        """What was held when the stream ended; nothing where it is the chunk, unterminated."""
        held, self._held = self._held, b""
        return b"" if _is_usage_chunk(held) else held

    def _pass_rest(self, data: bytes, out: list[bytes]) -> int:
        """Pass the rest of an event, as far as it has come; where the next one begins."""
        before = len(self._line_end)
        end = _end_of_event(self._line_end + data, 0)
        if end is None:
            self._enter(self._line_end + data)
            out.append(data)
            return len(data)
        self._is_inside = False
        out.append(data[: end - before])
        return end - before

    def _take_event(self, data: bytes, start: int, out: list[bytes]) -> int:
        """Pass, hold or take out what begins at `start`; where the next event begins."""
        blank = _line_ends(data, start)
        begin = blank.end() if blank else start
        out.append(data[start:begin])
        end = _end_of_event(data, begin)
        if end is None:
            rest = data[begin:]
            if not rest:
                # Empty lines alone: no event has begun.
                return len(data)
            if _may_be_usage_chunk(rest):
                self._held = rest
            else:
                self._enter(rest)
                out.append(rest)
            return len(data)
        event = data[begin:end]
        if _is_usage_chunk(event):
            self._drops_newline = end == len(data) and event.endswith(b"\r")
        else:
            out.append(event)
        return end

    def _enter(self, passed: bytes) -> None:
        self._is_inside = True
        self._line_end = passed[len(passed.rstrip(b"\r\n")) :]


def _end_of_event(data: bytes, start: int) -> int | None:
    if b"\r" not in data:
        found = data.find(b"\n\n", start)
        return None if found < 0 else found + 2
    match = _event_end(data, start)
    return None if match is None else match.end()


def _may_be_usage_chunk(beginning: bytes) -> bool:
    if not beginning or len(beginning) > USAGE_CHUNK_BYTES_MAX or _is_another(beginning):
        return False
    if beginning.startswith((*_FIELDS, b":")):
        return True
    return any(field.startswith(beginning) for field in _FIELDS)


def _is_usage_chunk(event: bytes) -> bool:
    """An event whose JSON has no choices and a usage: the one that `include_usage` adds.

    Source: OpenAI chat streaming reference, `stream_options.include_usage`. Azure's first chunk
    has no choices either, and no usage; other providers put the usage beside the last choice.
    """
    if not _has_usage(event):
        return False
    lines = [line for line in _split_lines(event) if line.startswith(b"data:")]
    try:
        chunk = orjson.loads(b"\n".join(line[5:] for line in lines))
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(chunk, dict) and chunk.get("choices") == [] and type(chunk.get("usage")) is dict
    )
