"""Prompts and completions for the event, where capture is on: as JSON, bounded, cuts shown."""

from collections.abc import Iterator
from typing import TypeAlias

import orjson

from gateway.domain.request import Dialect
from gateway.wire.content_events import chunk_of, deltas_of
from gateway.wire.content_parts import ContentParts, cut_mark
from gateway.wire.eventstream import EventStreamFramer
from gateway.wire.json_array import JsonArrayFramer
from gateway.wire.sse import EventFramer, event_spans, parse_event
from gateway.wire.top_level import Members, NotAnObjectError, members_of

CONTENT_BYTES_MAX = 256 << 10
"""Of a prompt, and of a completion, in JSON: two of them fit into PostHog's largest event."""
# Of a prompt that is too long the newest part says most. Inside a JSON string a byte takes two.
_HEAD_BYTES, _TAIL_BYTES = CONTENT_BYTES_MAX // 8, CONTENT_BYTES_MAX // 4
_BODY_BYTES_MAX = 4 << 20
_EVENT_BYTES_MAX = 1 << 20
_SYSTEM_NAMES = ("system", "instructions", "systemInstruction", "system_instruction")
_MESSAGES_NAMES = ("messages", "contents", "input", "prompt", "inputText")
_FRAME_STARTS = (b"\x00", b"\x01")

_Form: TypeAlias = EventFramer | JsonArrayFramer | EventStreamFramer | list[bytes]
"""Server-sent events, an array, Amazon's frames, or one document in pieces."""


def input_content(dialect: Dialect, body: bytes) -> str | None:
    """The prompt of a request, its system prompt first; None where it is no text.

    The messages are the client's own bytes, in its dialect's shape.
    """
    if dialect is Dialect.OPENAI_TRANSCRIPTIONS:
        return None
    try:
        members = members_of(body)
    except NotAnObjectError:
        return None
    messages = [message for message in _messages(members) if message]
    if not messages:
        return None
    content = b"[%b]" % b",".join(messages)
    if len(content) > CONTENT_BYTES_MAX:
        content = _cut(content)
    return content.decode("utf-8", "replace")


def _messages(members: Members) -> Iterator[bytes]:
    """Texts of JSON without a comma between them: members of an array, or none."""
    for names, role in ((_SYSTEM_NAMES, b"system"), (_MESSAGES_NAMES, b"user")):
        for name in names:
            raw = bytes(members.get(name, b"")).strip()
            if not raw or raw == b"null":
                continue
            if role == b"user" and raw.startswith(b"["):
                yield raw[1:-1].strip()
            else:
                yield b'{"role":"%b","content":%b}' % (role, raw)


def _cut(content: bytes) -> bytes:
    """One message with the beginning and the end of what was too long, as text."""
    left_out = cut_mark(len(content) - _HEAD_BYTES - _TAIL_BYTES)
    head = content[:_HEAD_BYTES].decode("utf-8", "ignore")
    tail = content[-_TAIL_BYTES:].decode("utf-8", "ignore")
    return orjson.dumps([{"role": "user", "content": f"{head}{left_out}{tail}"}])


class ContentCollector:
    """Collects what the model says from the bytes of one answer, whatever their split."""

    __slots__ = ("_body_bytes", "_dialect", "_form", "_parts")

    def __init__(self, dialect: Dialect, *, bytes_max: int = CONTENT_BYTES_MAX) -> None:
        self._dialect = dialect
        self._parts = ContentParts(bytes_max)
        self._form: _Form | None = None
        self._body_bytes = 0

    def feed(self, payload: bytes) -> None:
        """Read a piece of the answer, without transfer framing. Never raises."""
        for start in range(0, len(payload), _EVENT_BYTES_MAX):
            self._feed(payload[start : start + _EVENT_BYTES_MAX])

    def output_json(self) -> str | None:
        """The choices, as PostHog shows them; None where nothing was said. Idempotent."""
        match self._form:
            case EventFramer():
                self._read_blocks(self._form.finish())
                if self._form.losses:
                    self._parts.leave_out(self._form.losses * _EVENT_BYTES_MAX)
            case list():
                self._read_body(self._form)
            case _:
                pass
        self._form = None
        return self._parts.json()

    def _feed(self, payload: bytes) -> None:
        if self._form is None:
            payload = payload.lstrip(b" \t\r\n")
            if not payload:
                return
            self._form = _form_of(payload)
        form = self._form
        if isinstance(form, EventFramer):
            self._read_blocks(form.feed(payload))
        elif isinstance(form, list):
            self._keep(payload, form)
        else:
            for element in form.feed(payload):
                self._read(element if isinstance(element, bytes) else element.payload)

    def _keep(self, payload: bytes, pieces: list[bytes]) -> None:
        self._body_bytes += len(payload)
        if self._body_bytes <= _BODY_BYTES_MAX:
            pieces.append(payload)
        else:
            pieces.clear()

    def _read_body(self, pieces: list[bytes]) -> None:
        if self._body_bytes > _BODY_BYTES_MAX:
            self._parts.leave_out(self._body_bytes)
        else:
            self._read(b"".join(pieces))

    def _read_blocks(self, blocks: bytes) -> None:
        for start, end in event_spans(blocks):
            self._read(parse_event(blocks[start:end]).data)

    def _read(self, data: bytes) -> None:
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if not isinstance(document, dict):
            return
        if self._dialect is Dialect.BEDROCK:
            document = chunk_of(document)
        for delta in deltas_of(self._dialect, document):
            self._parts.add(delta)


def _form_of(start: bytes) -> _Form:
    if start.startswith(b"{"):
        return []
    if start.startswith(b"["):
        return JsonArrayFramer()
    if start.startswith(_FRAME_STARTS):
        return EventStreamFramer()
    return EventFramer(event_bytes_max=_EVENT_BYTES_MAX)
