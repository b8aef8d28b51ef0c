"""What the events and bodies of Bedrock say: counts by the model and by AWS, names and reasons."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway.domain.usage import UsagePart
from gateway.wire import anthropic, anthropic_declines, bedrock
from gateway.wire.anthropic_declines import Billing, Decline
from gateway.wire.bedrock_passes import with_more
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member, text

_Json = Mapping[str, object]
_NO_DETAILS: _Json = {}


class Bill(NamedTuple):
    """What the counts come to; `is_certain` says that nothing but a gap in them is in doubt."""

    parts: tuple[UsagePart, ...]
    is_certain: bool
    is_unbilled: bool
    usage_raw: dict[str, object] | None


class BedrockReading:
    """What decoded events, or a decoded body, said."""

    def __init__(self, metrics: _Json) -> None:
        self.is_ended = False
        self.is_told = bedrock.has_metrics(metrics)
        """The counts are the final ones."""
        self.is_damaged = False
        self.has_content = False
        """Something began that a model writes; deltas with text are the meter's to count."""
        self._has_output_count = False
        self.model: str | None = None
        self.id: str | None = None
        self.service_tier: str | None = None
        self.latency: str | None = None
        self.stop_reason: str | None = None
        self.error_type: str | None = None
        self._metrics = metrics
        self._usage: dict[str, object] = {}
        self._stop_details = _NO_DETAILS
        self._declines: list[Decline] = []

    @property
    def has_usage(self) -> bool:
        """Some count is there, final or not."""
        return bool(self._usage or self._metrics)

    @property
    def output_by_total(self) -> int:
        return bedrock.output_by_total(self._usage)

    @property
    def is_half(self) -> bool:
        """Of what was read, or of what was written, there is no count."""
        has_input = bedrock.has_input(self._usage) or bedrock.has_metrics(self._metrics)
        return not (has_input and self.has_output_count)

    @property
    def has_output_count(self) -> bool:
        """There is a count of the output, and not just the placeholder that opens a stream."""
        return self._has_output_count or self._metrics.get("outputTokenCount") is not None

    def take_failure(self, error_type: str | None) -> None:
        """A frame without an event type is a failure, or nothing that we know."""
        if error_type is not None:
            self.error_type = error_type
            self.is_ended = True

    def take_body(self, document: _Json) -> None:
        self.take(document)
        self.has_content = bedrock.has_content(document)
        self._declines = anthropic_declines.declines_in(document)
        self.is_ended = True
        self.is_told = self.is_told or bedrock.has_counts(self._usage)

    def take(self, document: _Json) -> None:
        """An event's counts replace those before; what it leaves out stays."""
        usage = bedrock.raw_usage(document)
        self._usage.update((name, value) for name, value in usage.items() if value is not None)
        if metrics := member(document, bedrock.METRICS):
            self._metrics = metrics
            self.is_ended = self.is_told = True
        elif bedrock.is_final_usage(document):
            self.is_told = True
        self.is_ended = self.is_ended or bedrock.is_end(document)
        message = member(document, "message")
        self.model = text(document, "model") or text(message, "model") or self.model
        self.id = text(document, "id") or text(message, "id") or self.id
        self.service_tier = bedrock.service_tier(document) or self.service_tier
        self.latency = bedrock.latency(document) or self.latency
        self.stop_reason = bedrock.stop_reason(document) or self.stop_reason
        self._stop_details = bedrock.stop_details(document) or self._stop_details
        if document.get("type") != "message_start":
            self._has_output_count = self._has_output_count or bedrock.has_output(usage)
        # Blocks of Converse begin and end in events of their own.
        self.has_content = self.has_content or "contentBlockIndex" in document

    def take_block(self, event: _Json) -> None:
        """An event of an Anthropic model's block, read until there is one with content."""
        self.has_content = anthropic_declines.begins_content(event)
        decline = anthropic_declines.decline_in(member(event, "content_block"))
        if decline is not None and len(self._declines) < anthropic_declines.DECLINES_MAX:
            self._declines.append(decline)

    def bill(self, ttls: Sequence[str], reader: CountReader, *, has_content: bool) -> Bill:
        """What is charged by these counts, each pass of a model under its name."""
        refusal = self._refusal(has_content=has_content)
        is_unbilled = anthropic_declines.is_unbilled(refusal, self._declines)
        passes, is_certain = anthropic.passes_in(self._usage), True
        if not is_unbilled:
            passes, is_certain = anthropic_declines.billed_passes(passes, self._declines, refusal)
        is_certain = is_certain and not anthropic.is_redeemed(self._usage)
        if passes[0] is self._usage:
            model, billed = self._counts(reader)
            parts: tuple[UsagePart, ...] = (UsagePart(model=None, usage=billed.usage(ttls)),)
            is_certain = is_certain and not billed.has_unknown_ttl(ttls)
        else:
            parts = anthropic.usage_parts(self._usage, passes, self.model, ttls, reader)
            parts, model, billed = with_more(parts, self._metrics, ttls, reader)
            is_certain = is_certain and not bedrock.disagree(model, billed)
        return Bill(parts, is_certain, is_unbilled, self._usage_raw(model, billed))

    def _refusal(self, *, has_content: bool) -> Billing:
        is_refused = self.stop_reason == anthropic_declines.REFUSAL
        if not is_refused or not self.is_told or has_content:
            return Billing.BILLED
        return anthropic_declines.billing_of(self._stop_details)

    def _counts(self, reader: CountReader) -> tuple[bedrock.Counts, bedrock.Counts]:
        """By the model, and as AWS bills them."""
        model = bedrock.counts_from(self._usage, reader)
        if not bedrock.has_metrics(self._metrics):
            return model, model
        return model, bedrock.with_metrics(model, self._metrics, reader)

    def _usage_raw(self, model: bedrock.Counts, billed: bedrock.Counts) -> dict[str, object] | None:
        raw = dict(self._usage)
        if self._metrics:
            raw[bedrock.METRICS] = dict(self._metrics)
        if bedrock.has_counts(self._usage) and bedrock.disagree(model, billed):
            raw["usage_conflict"] = {
                "model": {"input_tokens": model.input, "output_tokens": model.output},
                "metrics": {"input_tokens": billed.input, "output_tokens": billed.output},
            }
        return raw or None
