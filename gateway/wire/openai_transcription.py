"""Transcriptions as OpenAI and Mistral tell them: tokens or seconds of audio, and the text."""

import math
from collections.abc import Mapping
from decimal import Decimal

from gateway.domain.usage import Usage
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member

# Mistral's: its SDK, `TranscriptionStreamDone` and `TranscriptionStreamTextDelta`.
DONE_EVENTS = ("transcript.text.done", "transcription.done")
_MISTRAL_DELTA = "transcription.text.delta"
# A year: nobody sends this much sound at once.
_SECONDS_ABSURD = 31_536_000


def is_told(fields: Mapping[str, object]) -> bool:
    """Whether the usage has what the model is billed by: tokens or seconds, which are not none."""
    return fields.get("input_tokens") is not None or bool(_seconds(fields))


def usage_from(fields: Mapping[str, object], reader: CountReader) -> Usage:
    """Disjoint counts; where the length is told, it is what is billed.

    Sources: OpenAI API reference, `TranscriptTextUsageTokens`, `TranscriptTextUsageDuration`;
    Mistral's SDK, `UsageInfo.prompt_audio_seconds`, whose tokens beside it cost nothing.
    """
    if fields.get("input_tokens") is None:
        return Usage(input_audio_ms=_milliseconds(_seconds(fields), reader))
    total = reader.count(fields, "input_tokens")
    audio = reader.count(member(fields, "input_token_details"), "audio_tokens")
    return Usage(
        input_uncached_tokens=reader.rest(total, audio),
        input_audio_tokens=min(audio, total),
        output_tokens=reader.count(fields, "output_tokens"),
    )


def _seconds(fields: Mapping[str, object]) -> object:
    told = fields.get("seconds")
    return fields.get("prompt_audio_seconds") if told is None else told


def with_duration(document: Mapping[str, object], reader: CountReader) -> Usage:
    """A verbose transcript says how long the sound is; whole seconds are billed.

    Source: OpenAI API reference, `TranscriptionVerbose.duration`, which was a text at first.
    """
    duration = document.get("duration")
    if isinstance(duration, str):
        try:
            duration = float(duration)
        except ValueError:
            duration = None
    milliseconds = _milliseconds(duration, reader)
    return Usage(input_audio_ms=-(-milliseconds // 1000) * 1000)


def _milliseconds(seconds: object, reader: CountReader) -> int:
    """Whole milliseconds, up; anything but a number that can be is doubted."""
    if seconds is None:
        return 0
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        reader.is_doubtful = True
        return 0
    if 0 <= seconds < _SECONDS_ABSURD:
        # By its shortest decimal, which is what the provider wrote.
        return math.ceil(Decimal(str(seconds)) * 1000)
    reader.is_doubtful = True
    return 0


def text_bytes(document: Mapping[str, object]) -> int:
    """Bytes of transcript in an event with a piece of it, or in a whole body."""
    has_text = document.get("type") in (None, _MISTRAL_DELTA)
    texts = (document.get("delta"), document.get("text") if has_text else None)
    return sum(len(each.encode(errors="replace")) for each in texts if isinstance(each, str))
