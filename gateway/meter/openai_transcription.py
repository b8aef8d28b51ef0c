"""Reads OpenAI transcriptions: tokens or seconds, whichever the model bills by."""

from collections.abc import Mapping
from typing import ClassVar

from msgspec.structs import replace

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, Usage, UsagePart, UsageSource
from gateway.meter.estimate import NOTHING, completed_parts
from gateway.meter.reading import Seen
from gateway.wire import openai_chat, openai_transcription
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member, text


class OpenAITranscriptionReading:
    """One transcript, streamed or whole."""

    needles: ClassVar[tuple[bytes, ...]] = (
        b'"transcript.text.done"',
        b'"transcription.done"',
        b'"error"',
        b"[DONE]\n",
    )
    content_needle: ClassVar[bytes] = b".text.d"

    def __init__(self, *, provider: str, facts: RequestFacts) -> None:
        self.is_ended = False
        self.usage_count = 0
        self._facts = facts
        self._provider = provider
        self._usage: Mapping[str, object] = {}
        self._body: Mapping[str, object] = {}
        self._has_text = False
        self._model: str | None = None
        self._error_type: str | None = None

    def take_event(self, document: Mapping[str, object], data: bytes) -> None:
        del data
        if document.get("type") in openai_transcription.DONE_EVENTS:
            self.is_ended = True
            self._has_text = bool(document.get("text"))
        if error := document.get("error"):
            self._error_type = openai_chat.error_type(error)
        self._model = text(document, "model") or self._model
        if usage := member(document, "usage"):
            self.usage_count += 1
            self._usage = usage

    def take_done(self) -> None:
        self.is_ended = True

    def take_body(self, document: Mapping[str, object], data: bytes) -> None:
        self.take_event(document, data)
        self._body = document
        self.is_ended = True

    def text_bytes(self, document: Mapping[str, object]) -> int:
        return openai_transcription.text_bytes(document)

    def is_content(self, document: Mapping[str, object]) -> bool:
        return self.text_bytes(document) > 0

    def measurement(self, seen: Seen) -> Measurement:
        reader = CountReader()
        usage = openai_transcription.usage_from(self._usage, reader)
        is_told = self.is_ended and openai_transcription.is_told(self._usage)
        has_output = self._usage.get("output_tokens") is not None
        has_input = bool(usage.input_audio_ms) or self._usage.get("input_tokens") is not None
        has_text = seen.has_content or self._has_text
        is_failed = (
            self._error_type is not None and not (self.usage_count or has_text) and seen.is_nothing
        )
        is_half = has_text and not usage.input_audio_ms and has_input is not has_output
        if is_half and not has_input:
            usage = replace(usage, output_tokens=reader.count(self._usage, "output_tokens"))
        is_empty = has_text and usage == Usage()
        is_certain = is_told and not (reader.is_doubtful or seen.is_damaged or is_half or is_empty)
        if not (is_certain or is_half or usage.input_audio_ms):
            usage = usage.plus(openai_transcription.with_duration(self._body, reader))
        parts: tuple[UsagePart, ...] = (UsagePart(model=None, usage=usage),)
        if not is_certain and not usage.input_audio_ms:
            seen_tokens = None if is_half and has_output else seen.output_tokens()
            parts = completed_parts(parts, self._facts, seen_tokens)
        if is_failed:
            parts, is_certain = NOTHING, True
        return Measurement(
            parts=parts,
            source=UsageSource.EXACT if is_certain else UsageSource.ESTIMATED,
            response_model=self._model,
            usage_raw=dict(self._usage) or None,
            is_complete=self.is_ended,
            error_type=self._error_type,
            is_unbilled=is_failed,
        )
