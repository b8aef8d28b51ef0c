"""Reads Anthropic Messages: usage in `message_start`, replaced by what each `message_delta` has."""

from collections.abc import Mapping
from typing import ClassVar

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.meter.estimate import NOTHING, completed_parts
from gateway.meter.reading import Seen
from gateway.wire import anthropic, anthropic_declines
from gateway.wire.anthropic_declines import Billing, Decline
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member, text
from gateway.wire.reported_cost import reported_cost_pico_usd

_NO_DETAILS: Mapping[str, object] = {}


class AnthropicReading:
    """One message, streamed or whole."""

    # No needle is a word that has to stand in the events of plain content.
    needles: ClassVar[tuple[bytes, ...]] = (b'output_tokens"', b'"message_stop"', b'"error"')
    content_needle: ClassVar[bytes] = b"content_block_"

    def __init__(self, *, provider: str, facts: RequestFacts) -> None:
        self.is_ended = False
        self.usage_count = 0
        self._provider = provider
        self._facts = facts
        self._usage: dict[str, object] = {}
        self._usage_text = b""
        self._is_final = False
        self._has_output_count = False
        """Some count of the output is not the placeholder that opens a stream."""
        self._model: str | None = None
        self._id: str | None = None
        self._stop_reason: str | None = None
        self._stop_details = _NO_DETAILS
        self._declines: list[Decline] = []
        self._error_type: str | None = None

    def take_event(self, document: Mapping[str, object], data: bytes) -> None:
        kind = document.get("type")
        if kind == "message_start":
            self._take_usage(member(member(document, "message"), "usage"), data)
            self._take_names(member(document, "message"))
        elif kind == "message_delta":
            usage = member(document, "usage")
            self._take_usage(usage, data)
            self._has_output_count = (
                self._has_output_count or usage.get("output_tokens") is not None
            )
            self._take_stop(member(document, "delta"))
            self._is_final = bool(usage) and self._stop_reason is not None
        elif kind == "message_stop":
            self.is_ended = True
        elif kind == "error":
            self._take_error(document)
        elif kind == "content_block_start":
            self._take_block(member(document, "content_block"))

    def take_done(self) -> None:
        """Gateways that also speak OpenAI's dialect say it; it means nothing here."""

    def take_body(self, document: Mapping[str, object], data: bytes) -> None:
        self.is_ended = True
        if document.get("type") == "error":
            self._take_error(document)
        usage = member(document, "usage")
        self._take_usage(usage, data)
        self._has_output_count = usage.get("output_tokens") is not None
        self._take_names(document)
        self._take_stop(document)
        if b"fallback" in data:
            self._declines = anthropic_declines.declines_in(document)

    def text_bytes(self, document: Mapping[str, object]) -> int:
        if "content" in document:
            return anthropic.content_text_bytes(document)
        return anthropic.delta_text_bytes(document)

    def is_content(self, document: Mapping[str, object]) -> bool:
        if "content" in document:
            return anthropic_declines.has_content(document)
        return anthropic_declines.begins_content(document)

    def measurement(self, seen: Seen) -> Measurement:
        reader = CountReader()
        told = self.usage_count > 0 and (self._is_final or self.is_ended)
        passes = anthropic.passes_in(self._usage)
        refusal = self._refusal(seen) if told else Billing.BILLED
        is_unbilled = anthropic_declines.is_unbilled(refusal, self._declines)
        is_certain = True
        if not is_unbilled:
            passes, is_certain = anthropic_declines.billed_passes(passes, self._declines, refusal)
        parts = anthropic.usage_parts(
            self._usage, passes, self._model, self._facts.cache_ttls, reader
        )
        cost_pico_usd = None
        if told:
            cost_pico_usd = reported_cost_pico_usd(self._provider, self._usage_text)
        has_gap = (
            not told
            or reader.is_doubtful
            or seen.is_damaged
            or not any(part.usage.input_tokens or part.usage.output_tokens for part in parts)
        )
        source = UsageSource.EXACT if cost_pico_usd is None else UsageSource.PROVIDER_REPORTED
        is_failed = self._error_type is not None and not self.usage_count and seen.is_nothing
        is_half = seen.has_content and (
            not self._has_output_count or self._usage.get("input_tokens") is None
        )
        if is_failed:
            parts, has_gap = NOTHING, False
        elif has_gap or is_half:
            is_kept = self._has_output_count and not has_gap
            parts = completed_parts(parts, self._facts, None if is_kept else seen.output_tokens())
        if has_gap or is_half or not is_certain or anthropic.is_redeemed(self._usage):
            source = UsageSource.ESTIMATED
        return Measurement(
            parts=parts,
            source=source,
            response_model=self._model,
            provider_response_id=self._id,
            selectors=anthropic.selectors(self._usage),
            provider_cost_pico_usd=cost_pico_usd,
            usage_raw=self._usage or None,
            is_complete=self.is_ended,
            error_type=self._error_type,
            stop_reason=self._stop_reason,
            is_unbilled=is_unbilled or is_failed,
        )

    def _refusal(self, seen: Seen) -> Billing:
        """What is charged for a refusal before any output, whose usage shows an input all the same.

        Any other answer is billed.
        """
        is_refused = self._stop_reason == anthropic_declines.REFUSAL
        if not is_refused or seen.has_content or seen.is_damaged:
            return Billing.BILLED
        return anthropic_declines.billing_of(self._stop_details)

    def _take_stop(self, holder: Mapping[str, object]) -> None:
        self._stop_reason = text(holder, "stop_reason") or self._stop_reason
        self._stop_details = member(holder, "stop_details") or self._stop_details

    def _take_block(self, block: Mapping[str, object]) -> None:
        decline = anthropic_declines.decline_in(block)
        if decline is not None and len(self._declines) < anthropic_declines.DECLINES_MAX:
            self._declines.append(decline)

    def _take_usage(self, usage: Mapping[str, object], data: bytes) -> None:
        if usage:
            self._usage = anthropic.merged_usage(self._usage, usage)
            self._usage_text = data
            self.usage_count += 1

    def _take_names(self, message: Mapping[str, object]) -> None:
        self._model = text(message, "model") or self._model
        self._id = text(message, "id") or self._id

    def _take_error(self, document: Mapping[str, object]) -> None:
        self._error_type = text(member(document, "error"), "type") or "error"
