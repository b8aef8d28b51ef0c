"""Counts that are missing, or all zero, beside text: estimated, and what is there is kept."""

from typing import Any

import pytest

from gateway.domain.request import Dialect
from gateway.domain.usage import Measurement, UsageSource
from tests.fakes.measuring import BODY, STREAM, measured

SAID = "four" * 100
# What the request and the text are estimated to be.
READ, WRITTEN = 1_000, 100
KINDS = pytest.mark.parametrize("kind", [STREAM, BODY])


def responses(usage: dict[str, Any], kind: str, said: str) -> Measurement:
    output = [{"type": "message", "content": [{"type": "output_text", "text": said}]}]
    response = {"status": "completed", "output": output if said else [], "usage": usage}
    if kind == BODY:
        return measured(Dialect.OPENAI_RESPONSES, response, kind=kind)
    end = {"type": "response.completed", "response": response}
    delta = {"type": "response.output_text.delta", "delta": said}
    events = [delta, end] if said else [end]
    return measured(Dialect.OPENAI_RESPONSES, *events, kind=kind)


def chat(usage: dict[str, Any], kind: str, said: str) -> Measurement:
    if kind == BODY:
        choice = {"message": {"content": said}, "finish_reason": "stop"}
        return measured(Dialect.OPENAI_CHAT, {"choices": [choice], "usage": usage}, kind=kind)
    text = {"choices": [{"delta": {"content": said}}], "usage": None}
    last = {"choices": [], "usage": usage}
    return measured(Dialect.OPENAI_CHAT, text, last, kind=kind)


def anthropic(usage: dict[str, Any], kind: str, said: str) -> Measurement:
    block = {"type": "text", "text": said}
    if kind == BODY:
        body = {"type": "message", "stop_reason": "end_turn", "content": [block] if said else []}
        return measured(Dialect.ANTHROPIC_MESSAGES, {**body, "usage": usage}, kind=kind)
    start = {name: count for name, count in usage.items() if name == "input_tokens"}
    return measured(
        Dialect.ANTHROPIC_MESSAGES,
        {"type": "message_start", "message": {"usage": {**start, "output_tokens": 1}}},
        *([{"type": "content_block_delta", "delta": block}] if said else []),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
        kind=kind,
    )


def gemini(usage: dict[str, Any], kind: str, said: str) -> Measurement:
    parts = [{"text": said}] if said else []
    candidate = {"finishReason": "STOP", **({"content": {"parts": parts}} if said else {})}
    document = {"candidates": [candidate], "usageMetadata": usage}
    return measured(Dialect.GEMINI, document, kind=kind)


def transcription(usage: dict[str, Any], kind: str, said: str) -> Measurement:
    if kind == BODY:
        document = {"text": said, "usage": usage}
        return measured(Dialect.OPENAI_TRANSCRIPTIONS, document, kind=kind)
    delta = {"type": "transcript.text.delta", "delta": said}
    done = {"type": "transcript.text.done", "text": said, "usage": usage}
    return measured(Dialect.OPENAI_TRANSCRIPTIONS, delta, done, kind=kind)


NAMES = {
    responses: ("input_tokens", "output_tokens"),
    chat: ("prompt_tokens", "completion_tokens"),
    anthropic: ("input_tokens", "output_tokens"),
    gemini: ("promptTokenCount", "candidatesTokenCount"),
    transcription: ("input_tokens", "output_tokens"),
}
DIALECTS = pytest.mark.parametrize("answer", list(NAMES), ids=lambda answer: answer.__name__)


def found(measurement: Measurement) -> tuple[int, int, UsageSource]:
    usage = measurement.usage
    return usage.input_tokens, usage.output_tokens, measurement.source


@DIALECTS
@KINDS
def test_zeros_beside_text_are_estimated(answer, kind):
    usage = dict.fromkeys(NAMES[answer], 0)
    assert found(answer(usage, kind, SAID)) == (READ, WRITTEN, UsageSource.ESTIMATED)


@DIALECTS
@KINDS
@pytest.mark.parametrize("missing", [{}, None])
def test_of_half_a_usage_the_half_that_is_there_is_kept(answer, kind, missing):
    read, written = NAMES[answer]
    without_output = {read: 9} if missing == {} else {read: 9, written: None}
    without_input = {written: 7} if missing == {} else {read: None, written: 7}
    assert found(answer(without_output, kind, SAID)) == (9, WRITTEN, UsageSource.ESTIMATED)
    assert found(answer(without_input, kind, SAID)) == (READ, 7, UsageSource.ESTIMATED)


@DIALECTS
@KINDS
def test_a_whole_usage_beside_text_is_exact(answer, kind):
    read, written = NAMES[answer]
    assert found(answer({read: 9, written: 7}, kind, SAID)) == (9, 7, UsageSource.EXACT)


@pytest.mark.parametrize("answer", [responses, gemini], ids=lambda answer: answer.__name__)
@KINDS
def test_an_input_alone_is_exact_where_there_is_no_text(answer, kind):
    assert found(answer({NAMES[answer][0]: 9}, kind, "")) == (9, 0, UsageSource.EXACT)


@KINDS
def test_a_chat_without_a_prompt_count_has_what_the_total_leaves(kind):
    usage = {"completion_tokens": 7, "total_tokens": 27}
    assert found(chat(usage, kind, SAID)) == (20, 7, UsageSource.ESTIMATED)
    assert found(chat({"total_tokens": 27}, kind, SAID)) == (READ, WRITTEN, UsageSource.ESTIMATED)


def test_thoughts_alone_are_a_count_of_the_output():
    usage = {"promptTokenCount": 9, "thoughtsTokenCount": 7}
    assert found(gemini(usage, STREAM, SAID)) == (9, 7, UsageSource.EXACT)


def test_a_stream_of_gemini_that_counts_no_prompt_is_read_to_its_last_chunk():
    chunks = [
        {
            "candidates": [{"content": {"parts": [{"text": "Hi"}]}}],
            "usageMetadata": {"candidatesTokenCount": count},
        }
        for count in (1, 5)
    ]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    assert found(measured(Dialect.GEMINI, *chunks, kind=STREAM)) == (READ, 5, UsageSource.ESTIMATED)
