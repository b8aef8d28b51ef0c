"""Picks the meter of a response by its dialect, its content type and its encoding."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.domain.request import Dialect, RequestFacts
from gateway.meter.anthropic import AnthropicReading
from gateway.meter.bedrock import BedrockMeter
from gateway.meter.body import BodyMeter
from gateway.meter.collecting import CollectingMeter
from gateway.meter.encoded import EncodedMeter, encodings_in
from gateway.meter.gemini import GeminiMeter
from gateway.meter.openai_chat import OpenAIChatReading
from gateway.meter.openai_transcription import OpenAITranscriptionReading
from gateway.meter.protocol import Meter
from gateway.meter.reading import Reading
from gateway.meter.responses import ResponsesMeter
from gateway.meter.stream import StreamMeter
from gateway.wire.content import ContentCollector

__all__ = ["Meter", "meter_for"]


class _Answer(NamedTuple):
    """What is known of a response before its first byte."""

    provider: str
    facts: RequestFacts
    content_type: str
    headers: Sequence[tuple[str, str]]


def meter_for(
    *,
    dialect: Dialect,
    provider: str,
    facts: RequestFacts,
    content_type: str,
    content_encoding: str | None,
    headers: Sequence[tuple[str, str]] = (),
    collector: ContentCollector | None = None,
) -> Meter:
    """The meter of one 2xx response; a collector gets the same bytes, opened."""
    meter = _MAKERS[dialect](_Answer(provider, facts, content_type, headers))
    if collector is not None:
        meter = CollectingMeter(meter, collector)
    if content_encoding is None or not (encodings := encodings_in(content_encoding)):
        return meter
    return EncodedMeter(meter, facts=facts, encodings=encodings)


def _read_by(make: Callable[[_Answer], Reading]) -> Callable[[_Answer], Meter]:
    def make_meter(answer: _Answer) -> Meter:
        reading = make(answer)
        return StreamMeter(reading) if _is_stream(answer) else BodyMeter(reading)

    return make_meter


def _is_stream(answer: _Answer) -> bool:
    """What the response says it is; where it says neither, what the request asked for."""
    content_type = answer.content_type.lower()
    if "event-stream" in content_type:
        return True
    return answer.facts.is_streaming and "json" not in content_type


def _anthropic(answer: _Answer) -> Reading:
    return AnthropicReading(provider=answer.provider, facts=answer.facts)


def _openai_chat(answer: _Answer) -> Reading:
    return OpenAIChatReading(provider=answer.provider, facts=answer.facts)


def _openai_embeddings(answer: _Answer) -> Reading:
    return OpenAIChatReading(provider=answer.provider, facts=answer.facts, has_output=False)


def _openai_transcriptions(answer: _Answer) -> Reading:
    return OpenAITranscriptionReading(provider=answer.provider, facts=answer.facts)


_MAKERS: dict[Dialect, Callable[[_Answer], Meter]] = {
    Dialect.ANTHROPIC_MESSAGES: _read_by(_anthropic),
    Dialect.OPENAI_CHAT: _read_by(_openai_chat),
    Dialect.OPENAI_COMPLETIONS: _read_by(_openai_chat),
    Dialect.OPENAI_EMBEDDINGS: _read_by(_openai_embeddings),
    Dialect.OPENAI_TRANSCRIPTIONS: _read_by(_openai_transcriptions),
    Dialect.OPENAI_RESPONSES: lambda answer: ResponsesMeter(**answer._asdict()),
    Dialect.GEMINI: lambda answer: GeminiMeter(**answer._asdict()),
    Dialect.BEDROCK: lambda answer: BedrockMeter(**answer._asdict()),
}
