"""Meters Gemini: the last usage of a stream of chunks, or the one of a whole body."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace
from typing_extensions import override

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, Usage, UsagePart, UsageSource
from gateway.meter.body import BODY_BYTES_MAX
from gateway.meter.estimate import NOTHING, completed_parts, tokens_of_text
from gateway.meter.protocol import Meter
from gateway.wire import gemini
from gateway.wire.counts import CountReader
from gateway.wire.json_array import JsonArrayFramer
from gateway.wire.json_values import member, object_in, text
from gateway.wire.sse import EventFramer, event_spans, parse_event

# A chunk may hold a whole image; what is fed at once may not be longer than a chunk may be.
_CHUNK_BYTES_MAX = 16 << 20
# Names as they stand between quotes; inside a text their quotes would be escaped.
_USAGE, _COUNT = b'"usageMetadata"', b'"promptTokenCount"'
_OUTPUT_COUNT = b'"candidatesTokenCount"'
_FINISH, _BLOCK, _PARTS = b'"finishReason"', b'"blockReason"', b'"parts"'
_QUERIES, _ERROR, _CALL = b'"webSearchQueries"', b'"error"', b'"functionCall"'
_texts = re.compile(rb'"(?:text|code)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL).findall
_calls = re.compile(
    rb'"functionCall"\s*:(.*?)(?:"thoughtSignature"|"finishReason"|"usageMetadata"|\Z)', re.DOTALL
).findall


_Form: TypeAlias = EventFramer | JsonArrayFramer | list[bytes]
"""Events, an array (what Google streams without `alt=sse`), or one object in pieces."""


def _form_of(start: bytes) -> _Form | None:
    if not start:
        return None
    if start.startswith(b"["):
        return JsonArrayFramer()
    return [] if start.startswith(b"{") else EventFramer(event_bytes_max=_CHUNK_BYTES_MAX)


class GeminiMeter(Meter):
    """Keeps the last chunk that has counts, as bytes, and decodes it at the end.

    Every chunk has usage, and only the last one's counts, which may be lower than those before.
    Nothing in a stream of events says that it is over: a chunk with a finish reason may be
    followed by more. So such a stream is complete only once it is finished.
    """

    def __init__(
        self,
        *,
        provider: str,
        facts: RequestFacts,
        content_type: str,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        # Google reports no cost and no usage in headers; the form shows by the first byte.
        del provider, content_type, headers
        self._facts = facts
        self._form: _Form | None = None
        self._body_bytes = 0
        self._counted: bytes | None = None
        self._finish: bytes | None = None
        """The chunks, as bytes, with the last counts and with the last reason to end."""
        self._is_finished = False
        self._is_usage_counted = False
        self._has_prompt_count = False
        self._queries = 0
        self._has_content = False
        self._text_bytes = 0
        self._error_type: str | None = None
        self._measurement: Measurement | None = None

    @property
    @override
    def is_complete(self) -> bool:
        if self._measurement is not None:
            return self._measurement.is_complete
        return isinstance(self._form, JsonArrayFramer) and self._form.is_complete

    @property
    @override
    def has_first_token(self) -> bool:
        return self._has_content or self._body_bytes > 0

    @override
    def feed(self, piece: bytes) -> None:
        for start in range(0, len(piece), _CHUNK_BYTES_MAX):
            self._feed(piece[start : start + _CHUNK_BYTES_MAX])

    def _feed(self, piece: bytes) -> None:
        if self._form is None:
            piece = piece.lstrip()
            self._form = _form_of(piece)
        match self._form:
            case EventFramer():
                blocks = self._form.feed(piece)
                for start, end in event_spans(blocks):
                    self._read(blocks[start:end])
            case JsonArrayFramer():
                for chunk in self._form.feed(piece):
                    self._read(chunk)
            case list():
                self._keep(piece, self._form)
            case None:
                pass

    def _keep(self, piece: bytes, pieces: list[bytes]) -> None:
        self._body_bytes += len(piece)
        if self._body_bytes <= BODY_BYTES_MAX:
            pieces.append(piece)
        else:
            pieces.clear()

    def _read(self, chunk: bytes) -> None:
        """Note what a chunk has by the names in it: to decode each would cost far more."""
        # From the end, where most of them are, and because CPython searches faster that way.
        search = chunk.rfind
        if search(_USAGE) >= 0:
            has_prompt = search(_COUNT) >= 0
            # Half of the counts is better than none.
            self._is_usage_counted = has_prompt or (
                not self._has_prompt_count and search(_OUTPUT_COUNT) >= 0
            )
            if self._is_usage_counted:
                self._counted, self._has_prompt_count = chunk, has_prompt
        has_parts = search(_PARTS) >= 0
        if search(_FINISH) >= 0 or search(_BLOCK) >= 0:
            self._is_finished, self._finish = True, chunk
        elif has_parts:
            self._is_finished = False
        if has_parts:
            self._has_content = True
            self._text_bytes += _text_bytes(chunk)
        if search(_QUERIES) >= 0 or search(_ERROR) >= 0:
            self._read_rare(_decoded(chunk))

    def _read_rare(self, chunk: Mapping[str, object]) -> None:
        self._queries = gemini.search_queries(chunk) or self._queries
        self._error_type = gemini.error_from(chunk) or self._error_type

    @override
    def finish(self) -> Measurement:
        if self._measurement is None:
            is_whole = self._read_rest()
            self._measurement = self._measured(is_whole=is_whole)
        return self._measurement

    def _read_rest(self) -> bool:
        """Read what waited for an end, and say whether the end is one."""
        match self._form:
            case EventFramer():
                rest = self._form.finish()
                if is_whole := not rest or bool(_decoded(rest)):
                    self._read(rest)
                return is_whole and not self._form.losses
            case JsonArrayFramer():
                return self._form.is_complete
            case list():
                body = b"".join(self._form)
                if is_whole := bool(_decoded(body)):
                    self._read(body)
                    # With a reason to end or without: nothing can follow.
                    self._is_finished = True
                else:
                    # What is cut, or is no JSON, counts as text.
                    self._text_bytes += self._body_bytes
                self._form.clear()
                return is_whole
            case None:
                return False

    def _measured(self, *, is_whole: bool) -> Measurement:
        is_complete = is_whole and self._is_finished
        last = _decoded(self._counted)
        ending = last if self._finish is self._counted else _decoded(self._finish)
        usage = member(last, "usageMetadata")
        parts, is_certain = self._parts(last)
        is_failed = (
            self._error_type is not None
            and is_whole
            and self._counted is None
            and not (self._has_content or self._queries)
        )
        if is_failed:
            parts, is_certain = NOTHING, True
        elif not (is_certain and is_complete and self._is_usage_counted) or self._error_type:
            is_certain = False
            seen_tokens = max(tokens_of_text(self._text_bytes), gemini.output_by_total(usage))
            parts = completed_parts(parts, self._facts, seen_tokens)
        elif self._has_gap(usage, parts[0].usage):
            is_certain = False
            seen_tokens = max(tokens_of_text(self._text_bytes), gemini.output_by_total(usage))
            is_kept = gemini.has_output_count(usage) and not parts[0].usage.is_nothing
            parts = completed_parts(parts, self._facts, None if is_kept else seen_tokens)
        return Measurement(
            parts=parts,
            source=UsageSource.EXACT if is_certain else UsageSource.ESTIMATED,
            response_model=text(last, "modelVersion"),
            provider_response_id=text(last, "responseId"),
            selectors=gemini.selectors_from(usage),
            usage_raw=self._usage_raw(usage),
            is_complete=is_complete,
            error_type=self._error_type,
            stop_reason=gemini.stop_reason(ending),
            is_unbilled=is_failed,
        )

    def _has_gap(self, usage: Mapping[str, object], counts: Usage) -> bool:
        """The last counts leave out what must have been: a prompt, or the text that came."""
        return (
            not gemini.has_prompt_count(usage)
            or (self._text_bytes > 0 and not gemini.has_output_count(usage))
            or (self._has_content and counts.is_nothing)
        )

    def _parts(self, last: Mapping[str, object]) -> tuple[tuple[UsagePart, ...], bool]:
        """The counts of the last chunk that has some, and whether they are all of the bill."""
        reader = CountReader()
        metadata = member(last, "usageMetadata")
        model = text(last, "modelVersion") or self._facts.model
        usage = replace(
            gemini.usage_from(metadata, reader),
            web_search_requests=gemini.billed_searches(self._queries, model),
        )
        is_certain = not reader.is_doubtful and not gemini.has_filmed(metadata)
        return (UsagePart(model=None, usage=usage),), is_certain

    def _usage_raw(self, usage: Mapping[str, object]) -> dict[str, object] | None:
        raw = dict(usage)
        if self._queries:
            raw["webSearchQueries"] = self._queries
        return raw or None


def _text_bytes(chunk: bytes) -> int:
    """Bytes of text and of tool input, escapes as they are written; no signatures."""
    text_bytes = sum(map(len, _texts(chunk)))
    return text_bytes if chunk.rfind(_CALL) < 0 else text_bytes + sum(map(len, _calls(chunk)))


def _decoded(chunk: bytes | None) -> Mapping[str, object]:
    """The object in an event or in an element of an array; an empty one for anything else."""
    data = chunk or b""
    return object_in(data if data.startswith(b"{") else parse_event(data).data) or {}
