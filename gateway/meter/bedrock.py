"""Meters Bedrock: Converse or a model's own body, whole or in frames, and AWS's metrics of it."""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping, Sequence

from typing_extensions import override

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, UsagePart, UsageSource
from gateway.meter.bedrock_reading import BedrockReading
from gateway.meter.body import BODY_BYTES_MAX
from gateway.meter.estimate import NOTHING, completed_parts, tokens_of_text
from gateway.meter.protocol import Meter
from gateway.wire import bedrock
from gateway.wire.counts import CountReader
from gateway.wire.eventstream import EventStreamFramer, Frame
from gateway.wire.json_values import object_in

_Json = Mapping[str, object]

_DELTA, _CHUNK = "contentBlockDelta", "chunk"
_inner_bytes = re.compile(rb'"bytes"\s*:\s*"([^"]*)"').search
# What the families call the text that they write, tool input and thoughts included.
_texts = re.compile(
    rb'"(?:text|input|thinking|partial_json|generation|outputText|completion|content)"'
    rb'\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"',
    re.DOTALL,
).findall
_BLOCK = b"content_block_"
_METRICS = bedrock.METRICS.encode()
_FRAME_STARTS = (b"\x00", b"\x01")
_OPENINGS = frozenset({"message_start", "messageStart", "content_block_start"})


class BedrockMeter(Meter):
    """Reads frames by the names in their headers; few of their payloads are decoded."""

    def __init__(
        self,
        *,
        provider: str,
        facts: RequestFacts,
        content_type: str,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        # The dialect has one provider, and the form shows by the first byte.
        del provider, content_type
        self._facts = facts
        self._framer: EventStreamFramer | None = None
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._reading = BedrockReading(bedrock.metrics_from_headers(headers))
        self._last_chunk: bytes | None = None
        """The last of a model's own events that was not decoded: it may have running counts."""
        self._awaits_block = False
        """An Anthropic model has said that it begins, and no content has begun."""
        self._deltas = 0
        self._text_bytes = 0
        self._measurement: Measurement | None = None

    @property
    @override
    def is_complete(self) -> bool:
        if self._measurement is not None:
            return self._measurement.is_complete
        return self._reading.is_ended

    @property
    @override
    def has_first_token(self) -> bool:
        return self._deltas > 0 or self._body_bytes > 0

    @override
    def feed(self, piece: bytes) -> None:
        if self._framer is None and not self._body_bytes and _begins_frame(piece):
            self._framer = EventStreamFramer()
        if self._framer is not None:
            for frame in self._framer.feed(piece):
                self._read(frame)
            return
        self._body_bytes += len(piece)
        if self._body_bytes <= BODY_BYTES_MAX:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def _read(self, frame: Frame) -> None:
        kind = frame.headers.get(":event-type")
        if kind == _DELTA:
            self._count(frame.payload)
        elif kind == _CHUNK:
            self._read_chunk(frame.payload)
        elif kind is None:
            self._reading.take_failure(bedrock.error_from_headers(frame.headers))
        else:
            self._reading.take(_decoded(frame.payload))

    def _read_chunk(self, payload: bytes) -> None:
        match = _inner_bytes(payload)
        if match is None:
            return
        try:
            chunk = a2b_base64(match[1])
        except Base64Error:
            self._reading.is_damaged = True
            return
        if self._last_chunk is None or _has_facts(chunk):
            document = _decoded(chunk)
            self._reading.take(document)
            self._last_chunk = b""
            self._awaits_block = self._awaits_block or document.get("type") == "message_start"
            if document.get("type") in _OPENINGS or not _OPENINGS.isdisjoint(document):
                return
        else:
            self._last_chunk = chunk
            if self._awaits_block and _BLOCK in chunk:
                self._reading.take_block(_decoded(chunk))
                self._awaits_block = not self._reading.has_content
        self._count(chunk)

    def _count(self, event: bytes) -> None:
        if texts := _texts(event):
            self._deltas += 1
            self._text_bytes += sum(map(len, texts))

    @override
    def finish(self) -> Measurement:
        if self._measurement is None:
            self._measurement = self._measured()
        return self._measurement

    def _measured(self) -> Measurement:
        reading, reader = self._reading, CountReader()
        if self._framer is None:
            self._take_body()
        elif self._last_chunk and not reading.is_told:
            reading.take(_decoded(self._last_chunk))
        is_damaged = reading.is_damaged or (self._framer is not None and self._framer.is_damaged)
        has_content = reading.has_content or self._deltas > 0 or self._text_bytes > 0
        bill = reading.bill(self._facts.cache_ttls, reader, has_content=has_content or is_damaged)
        is_failed = reading.error_type is not None and not (
            reading.has_usage or has_content or is_damaged
        )
        parts, is_gapless = bill.parts, True
        if is_failed:
            parts = NOTHING
        elif is_damaged or reader.is_doubtful or not reading.is_told or reading.error_type:
            is_gapless = False
            parts = completed_parts(parts, self._facts, self._seen_tokens())
        elif self._text_bytes and (reading.is_half or _is_nothing(parts)):
            is_gapless = False
            has_output = reading.has_output_count and not _is_nothing(parts)
            parts = completed_parts(parts, self._facts, None if has_output else self._seen_tokens())
        return Measurement(
            parts=parts,
            source=(UsageSource.EXACT if is_gapless and bill.is_certain else UsageSource.ESTIMATED),
            response_model=reading.model,
            provider_response_id=reading.id,
            selectors=PriceSelectors(service_tier=reading.service_tier, speed=reading.latency),
            usage_raw=bill.usage_raw,
            is_complete=reading.is_ended,
            error_type=reading.error_type,
            stop_reason=reading.stop_reason,
            is_unbilled=is_failed or bill.is_unbilled,
        )

    def _seen_tokens(self) -> int:
        seen_tokens = max(self._deltas, tokens_of_text(self._text_bytes))
        return max(seen_tokens, self._reading.output_by_total)

    def _take_body(self) -> None:
        body = b"".join(self._pieces)
        self._pieces.clear()
        document = _decoded(body)
        if document:
            self._reading.take_body(document)
        # What is cut, or is no JSON, counts as text.
        texts = _texts(body) if document else [body]
        self._text_bytes += sum(map(len, texts))


def _is_nothing(parts: Sequence[UsagePart]) -> bool:
    return all(part.usage.is_nothing for part in parts)


def _has_facts(chunk: bytes) -> bool:
    """A model's own event to decode; a guardrail's trace may look like one."""
    # From the end, because CPython searches faster that way.
    search = chunk.rfind
    return (
        search(b'"usage"') >= 0
        or search(_METRICS) >= 0
        or search(b'"messageStop"') >= 0
        or search(b'"message_stop"') >= 0
    )


def _begins_frame(piece: bytes) -> bool:
    """A frame begins with its length, which is below 2^25; no JSON text begins so."""
    return piece[:1] in _FRAME_STARTS


def _decoded(data: bytes) -> _Json:
    return object_in(data) or {}
