"""Meters OpenAI Responses: the event that ends a stream, or one JSON body."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import orjson
from typing_extensions import override

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, Usage, UsagePart, UsageSource
from gateway.meter.body import BodyMeter
from gateway.meter.estimate import NOTHING, completed_parts, output_tokens_worst, tokens_of_text
from gateway.meter.protocol import Meter
from gateway.meter.reading import Reading, Seen
from gateway.meter.stream import StreamMeter
from gateway.wire import openai_responses as responses
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member, text
from gateway.wire.reported_cost import REPORTING_PROVIDERS, reported_cost_pico_usd

# A terminal event repeats the whole answer, images included.
_EVENT_BYTES_MAX = 16 << 20
# What an answer in the background, which nobody watches, is taken to write.
_BACKGROUND_TOKENS = 16_384


class ResponsesReading(Reading):
    """One response, streamed or whole.

    A stream is known by the response that opens it, and its bill by the one that ends it.
    """

    needles: ClassVar[tuple[bytes, ...]] = (b'"response"', b'"error"')
    content_needle: ClassVar[bytes] = b'"delta"'

    def __init__(self, *, provider: str, facts: RequestFacts) -> None:
        self._provider = provider
        self._facts = facts
        self._response: Mapping[str, object] = {}
        self._is_ended = False
        self._is_final = False
        """The response is the one of a terminal event, or a whole body."""
        self._is_failed = False
        self._error_type: str | None = None

    @property
    @override
    def is_ended(self) -> bool:
        return self._is_ended

    @property
    @override
    def usage_count(self) -> int:
        return int(self._is_final)

    @override
    def take_event(self, document: Mapping[str, object], data: bytes) -> None:
        kind = document.get("type")
        if kind in responses.TERMINAL_EVENTS:
            self._take_final(member(document, "response"))
        elif kind == responses.ERROR_EVENT:
            self._is_ended = self._is_failed = True
            self._error_type = responses.error_from(document)
        elif not self._response and (opening := member(document, "response")):
            self._response = _opening(opening)

    @override
    def take_done(self) -> None:
        """OpenRouter says it behind the terminal event."""

    @override
    def take_body(self, document: Mapping[str, object], data: bytes) -> None:
        self._take_final(document)

    def _take_final(self, response: Mapping[str, object]) -> None:
        self._is_ended = self._is_final = True
        self._response = response
        self._is_failed = self._is_failed or response.get("status") == responses.FAILED
        if error := member(response, "error"):
            self._is_failed = True
            self._error_type = responses.error_from(error)

    @override
    def text_bytes(self, document: Mapping[str, object]) -> int:
        """Text, reasoning that is shown, and tool input; padding (`obfuscation`) is none."""
        if "output" in document:
            return responses.content_text_bytes(document)
        delta = document.get("delta")
        return len(delta.encode(errors="replace")) if isinstance(delta, str) else 0

    @override
    def is_content(self, document: Mapping[str, object]) -> bool:
        return isinstance(document.get("delta"), str) or bool(document.get("output"))

    @override
    def measurement(self, seen: Seen) -> Measurement:
        response, reader = self._response, CountReader()
        is_unbilled = self._is_failed and self._has_nothing(seen, reader)
        parts, is_certain = (NOTHING, True) if is_unbilled else self._parts(seen, reader)
        cost = self._reported_cost_pico_usd()
        source = UsageSource.EXACT if is_certain else UsageSource.ESTIMATED
        if cost is not None and self._is_final:
            source = UsageSource.PROVIDER_REPORTED
        return Measurement(
            parts=parts,
            source=source,
            response_model=text(response, "model"),
            provider_response_id=text(response, "id"),
            # Before the end it is the tier that was asked for.
            selectors=responses.selectors_from(response) if self._is_final else PriceSelectors(),
            provider_cost_pico_usd=cost,
            usage_raw=self._usage_raw(),
            is_complete=self._is_ended,
            error_type=self._error_type,
            stop_reason=responses.stop_reason(response) if self._is_final else None,
            is_unbilled=is_unbilled,
        )

    def _has_nothing(self, seen: Seen, reader: CountReader) -> bool:
        """No usage, no output and no tool's work; what runs in the background may go on."""
        response = self._response
        return (
            seen.is_nothing
            and (self._is_final or response.get("background") is not True)
            and not responses.has_usage(response)
            and not response.get("output")
            and responses.usage_from(response, reader) == Usage()
            and responses.image_part(response, reader) is None
            and not reader.is_doubtful
        )

    def _parts(self, seen: Seen, reader: CountReader) -> tuple[tuple[UsagePart, ...], bool]:
        """The response's own tokens and its image tool's, and whether they are all of the bill."""
        response = self._response
        own = UsagePart(model=None, usage=responses.usage_from(response, reader))
        is_told = self._is_final and responses.has_usage(response)
        if not is_told or reader.is_doubtful or seen.is_damaged:
            return completed_parts((own,), self._facts, self._seen_tokens(seen)), False
        is_all = not responses.has_container_fee(response)
        has_counts = own.usage.input_tokens > 0 or own.usage.output_tokens > 0
        has_output = seen.has_content or bool(response.get("output"))
        if has_output and (not has_counts or responses.has_half(response)):
            is_kept = has_counts and responses.has_output_count(response)
            seen_tokens = None if is_kept else self._seen_tokens(seen)
            (own,), is_all = completed_parts((own,), self._facts, seen_tokens), False
        image = responses.image_part(response, reader)
        if image is None:
            return (own,), is_all
        return (own, image), is_all and responses.image_model(response) is not None

    def _reported_cost_pico_usd(self) -> int | None:
        if self._provider not in REPORTING_PROVIDERS:
            return None
        try:
            usage_text = orjson.dumps({"usage": member(self._response, "usage")})
        except orjson.JSONEncodeError:
            # Nested deeper than anything that is written again may be.
            return None
        return reported_cost_pico_usd(self._provider, usage_text)

    def _seen_tokens(self, seen: Seen) -> int:
        told = tokens_of_text(responses.content_text_bytes(self._response))
        tokens = max(seen.output_tokens(), told, responses.output_by_total(self._response))
        if self._response.get("background") is True and self._error_type is None:
            # It goes on without a client, and is billed as a whole.
            return max(tokens, min(_BACKGROUND_TOKENS, output_tokens_worst(self._facts)))
        return tokens

    def _usage_raw(self) -> dict[str, object] | None:
        if not self._is_final:
            return None
        raw: dict[str, object] = {**member(self._response, "usage")}
        if tool_usage := member(self._response, "tool_usage"):
            raw["tool_usage"] = tool_usage
        if calls := responses.tool_calls(self._response):
            raw["tool_calls"] = calls
        return raw or None


def _opening(response: Mapping[str, object]) -> Mapping[str, object]:
    """What a cut stream is known by; the rest repeats the request, which may be large."""
    return {name: response.get(name) for name in ("id", "model", "background")}


class ResponsesMeter(Meter):
    """Reads either form by the type of its content."""

    def __init__(
        self,
        *,
        provider: str,
        facts: RequestFacts,
        content_type: str,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        del headers  # They say nothing of usage.
        reading = ResponsesReading(provider=provider, facts=facts)
        self._meter: Meter = BodyMeter(reading)
        named = content_type.lower()
        if "event-stream" in named or (facts.is_streaming and "json" not in named):
            self._meter = StreamMeter(reading, event_bytes_max=_EVENT_BYTES_MAX)

    @property
    @override
    def is_complete(self) -> bool:
        return self._meter.is_complete

    @property
    @override
    def has_first_token(self) -> bool:
        return self._meter.has_first_token

    @override
    def feed(self, piece: bytes) -> None:
        self._meter.feed(piece)

    @override
    def finish(self) -> Measurement:
        return self._meter.finish()
