"""What the events and bodies of Bedrock say: counts by the model and by AWS, names and reasons."""

from collections.abc import Mapping

from gateway.wire import bedrock
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member, text

_Json = Mapping[str, object]


class BedrockReading:
    """What decoded events, or a decoded body, said."""

    def __init__(self, metrics: _Json) -> None:
        self.is_ended = False
        self.is_told = bedrock.has_metrics(metrics)
        """The counts are the final ones."""
        self.is_damaged = False
        self.model: str | None = None
        self.id: str | None = None
        self.service_tier: str | None = None
        self.latency: str | None = None
        self.stop_reason: str | None = None
        self.error_type: str | None = None
        self._metrics = metrics
        self._usage: dict[str, object] = {}

    def take_failure(self, error_type: str | None) -> None:
        """A frame without an event type is a failure, or nothing that we know."""
        if error_type is not None:
            self.error_type = error_type
            self.is_ended = True

    def take_body(self, document: _Json) -> None:
        self.take(document)
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

    def counts(self, reader: CountReader) -> tuple[bedrock.Counts, bedrock.Counts]:
        """By the model, and as AWS bills them."""
        model = bedrock.counts_from(self._usage, reader)
        if not bedrock.has_metrics(self._metrics):
            return model, model
        return model, bedrock.with_metrics(model, self._metrics, reader)

    def usage_raw(self, model: bedrock.Counts, billed: bedrock.Counts) -> dict[str, object] | None:
        raw = dict(self._usage)
        if self._metrics:
            raw[bedrock.METRICS] = dict(self._metrics)
        if bedrock.has_counts(self._usage) and bedrock.disagree(model, billed):
            raw["usage_conflict"] = {
                "model": {"input_tokens": model.input, "output_tokens": model.output},
                "metrics": {"input_tokens": billed.input, "output_tokens": billed.output},
            }
        return raw or None
