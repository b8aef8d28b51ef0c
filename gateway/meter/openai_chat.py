"""Reads OpenAI chat, completions and embeddings, and the many who speak like them."""

from collections.abc import Mapping
from typing import ClassVar

from msgspec.structs import replace

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, UsagePart, UsageSource
from gateway.meter.estimate import NOTHING, completed_parts
from gateway.meter.reading import Seen
from gateway.wire import openai_chat
from gateway.wire.counts import CountReader
from gateway.wire.json_values import members, text
from gateway.wire.reported_cost import reported_cost_pico_usd


class OpenAIChatReading:
    """One completion, streamed or whole; the last usage counts, and no other.

    An embedding is one without output.
    """

    # `"usage":null` stands in every chunk of some streams, a count only in real usage.
    needles: ClassVar[tuple[bytes, ...]] = (
        b'_tokens"',
        b'"finish_reason":"',
        b'"error"',
        b"[DONE]\n",
    )
    content_needle: ClassVar[bytes] = b'"choices"'

    def __init__(self, *, provider: str, facts: RequestFacts, has_output: bool = True) -> None:
        self.is_ended = False
        self.usage_count = 0
        self._provider = provider
        self._facts = facts
        self._has_output = has_output
        self._usage: Mapping[str, object] = {}
        self._usage_text = b""
        self._is_final = False
        self._model: str | None = None
        self._id: str | None = None
        self._service_tier: str | None = None
        self._stop_reason: str | None = None
        self._error_type: str | None = None

    def take_event(self, document: Mapping[str, object], data: bytes) -> None:
        self._model = text(document, "model") or self._model
        self._id = text(document, "id") or self._id
        self._service_tier = text(document, "service_tier") or self._service_tier
        if error := document.get("error"):
            self._error_type = openai_chat.error_type(error)
        for choice in members(document, "choices"):
            self._stop_reason = text(choice, "finish_reason") or self._stop_reason
        if usage := openai_chat.usage_object(document):
            self.usage_count += 1
            self._usage = usage
            self._usage_text = data
            self._is_final = self._is_final or openai_chat.is_last_usage(document)

    def take_done(self) -> None:
        self.is_ended = True

    def take_body(self, document: Mapping[str, object], data: bytes) -> None:
        self.take_event(document, data)
        self.is_ended = True

    def text_bytes(self, document: Mapping[str, object]) -> int:
        return openai_chat.text_bytes(document)

    def is_content(self, document: Mapping[str, object]) -> bool:
        return openai_chat.has_text(document) or bool(document.get("data"))

    def measurement(self, seen: Seen) -> Measurement:
        reader = CountReader()
        usage = openai_chat.usage_from(
            self._usage, self._provider, reader, has_output=self._has_output
        )
        searches_always = openai_chat.searches_always(
            self._provider, self._model or self._facts.model
        )
        if searches_always:
            usage = replace(usage, web_search_preview_requests=1)
        parts: tuple[UsagePart, ...] = (UsagePart(model=None, usage=usage),)
        is_told = self.usage_count > 0 and (self._is_final or self.is_ended)
        cost_pico_usd = None
        if is_told:
            cost_pico_usd = reported_cost_pico_usd(self._provider, self._usage_text)
        source = UsageSource.EXACT if cost_pico_usd is None else UsageSource.PROVIDER_REPORTED
        has_counts = usage.input_tokens > 0 or usage.all_output_tokens > 0
        is_failed = self._error_type is not None and not self.usage_count and seen.is_nothing
        if is_failed:
            parts = NOTHING
        elif not is_told or not has_counts or reader.is_doubtful or seen.is_damaged:
            source = UsageSource.ESTIMATED
            seen_tokens = None
            if self._has_output:
                told_tokens = openai_chat.output_by_total(self._usage)
                seen_tokens = max(seen.output_tokens(), told_tokens)
            parts = completed_parts(parts, self._facts, seen_tokens)
        elif self._has_output and seen.has_content and openai_chat.has_half(self._usage):
            source = UsageSource.ESTIMATED
            is_kept = openai_chat.has_completion(self._usage)
            parts = completed_parts(parts, self._facts, None if is_kept else seen.output_tokens())
        elif searches_always:
            # One at least, and perhaps more.
            source = UsageSource.ESTIMATED
        tier = self._service_tier or text(self._usage, "service_tier")
        return Measurement(
            parts=parts,
            source=source,
            response_model=self._model,
            provider_response_id=self._id,
            selectors=PriceSelectors(service_tier=tier),
            provider_cost_pico_usd=cost_pico_usd,
            usage_raw=dict(self._usage) or None,
            is_complete=self.is_ended,
            error_type=self._error_type,
            stop_reason=self._stop_reason,
            is_unbilled=is_failed,
        )
