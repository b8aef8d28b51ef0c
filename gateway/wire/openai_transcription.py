"""OpenAI transcriptions: usage by tokens or by seconds of audio, and the text of events."""

from collections.abc import Mapping

from gateway.domain.usage import Usage
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member

DONE_EVENT = "transcript.text.done"


def is_by_tokens(fields: Mapping[str, object]) -> bool:
    """Whether these are tokens; models that bill by duration count seconds."""
    return fields.get("input_tokens") is not None


def usage_from(fields: Mapping[str, object], reader: CountReader) -> Usage:
    """Source: OpenAI API reference, `TranscriptTextUsageTokens`."""
    total = reader.count(fields, "input_tokens")
    audio = reader.count(member(fields, "input_token_details"), "audio_tokens")
    return Usage(
        input_uncached_tokens=reader.rest(total, audio),
        input_audio_tokens=min(audio, total),
        output_tokens=reader.count(fields, "output_tokens"),
    )


def text_bytes(document: Mapping[str, object]) -> int:
    """Bytes of transcript in a `transcript.text.delta` event or in a whole body."""
    texts = (document.get("delta"), None if "type" in document else document.get("text"))
    return sum(len(each.encode(errors="replace")) for each in texts if isinstance(each, str))
