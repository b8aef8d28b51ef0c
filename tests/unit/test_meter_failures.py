"""An error inside of a 200: nothing is charged where there was nothing of an answer before it."""

from typing import Any

import pytest

from gateway.domain.request import Dialect
from gateway.domain.usage import Usage, UsageSource
from tests.fakes.measuring import BODY, STREAM, measured

ERROR = {"error": {"type": "server_error", "code": "server_error", "status": "UNAVAILABLE"}}
ANTHROPIC_ERROR = {"type": "error", "error": {"type": "overloaded_error"}}
CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress"}}
FAILED = {"id": "r", "status": "failed", "usage": None, "output": [], **ERROR}
QUIET = {"id": "r", "status": "failed", "usage": None}
ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
CHAT_TEXT = {"choices": [{"delta": {"content": "Hi"}}]}
ANTHROPIC_START = {
    "type": "message_start",
    "message": {"usage": {"input_tokens": 9, "output_tokens": 1}},
}
GEMINI_TEXT = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}
SEARCHED = {"tool_usage": {"web_search": {"num_requests": 2}}}


def ending(response: dict[str, Any], kind: str = "failed") -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": response}


@pytest.mark.parametrize(
    ("dialect", "kind", "documents", "error"),
    [
        (Dialect.OPENAI_CHAT, BODY, [ERROR], "server_error"),
        (Dialect.OPENAI_CHAT, STREAM, [ERROR], "server_error"),
        (Dialect.OPENAI_CHAT, STREAM, [ROLE, ERROR], "server_error"),
        (Dialect.OPENAI_COMPLETIONS, BODY, [ERROR], "server_error"),
        (Dialect.OPENAI_EMBEDDINGS, BODY, [ERROR], "server_error"),
        (Dialect.OPENAI_TRANSCRIPTIONS, BODY, [ERROR], "server_error"),
        (Dialect.OPENAI_RESPONSES, BODY, [FAILED], "server_error"),
        (Dialect.OPENAI_RESPONSES, BODY, [QUIET], None),
        (Dialect.OPENAI_RESPONSES, BODY, [{**FAILED, "background": True}], "server_error"),
        (Dialect.OPENAI_RESPONSES, STREAM, [CREATED, ending(FAILED)], "server_error"),
        (Dialect.OPENAI_RESPONSES, STREAM, [{"type": "error", **ERROR}], "server_error"),
        (Dialect.ANTHROPIC_MESSAGES, BODY, [ANTHROPIC_ERROR], "overloaded_error"),
        (Dialect.ANTHROPIC_MESSAGES, STREAM, [ANTHROPIC_ERROR], "overloaded_error"),
        (Dialect.GEMINI, BODY, [ERROR], "UNAVAILABLE"),
        (Dialect.GEMINI, STREAM, [ERROR], "UNAVAILABLE"),
    ],
)
def test_an_error_before_anything_of_an_answer_is_not_billed(dialect, kind, documents, error):
    found = measured(dialect, *documents, kind=kind)
    assert (found.is_unbilled, found.source) == (True, UsageSource.EXACT)
    assert found.usage == Usage()
    assert found.error_type == error


@pytest.mark.parametrize(
    ("dialect", "kind", "documents"),
    [
        (Dialect.OPENAI_CHAT, STREAM, [CHAT_TEXT, ERROR]),
        (Dialect.OPENAI_CHAT, BODY, [{**ERROR, "choices": [{"message": {"content": "Hi"}}]}]),
        (Dialect.OPENAI_CHAT, BODY, [{"choices": []}]),
        (Dialect.OPENAI_EMBEDDINGS, BODY, [{**ERROR, "data": [{"embedding": [0.5]}]}]),
        (Dialect.OPENAI_TRANSCRIPTIONS, BODY, [{**ERROR, "text": "Hi"}]),
        (
            Dialect.OPENAI_RESPONSES,
            STREAM,
            [CREATED, {"type": "response.output_text.delta", "delta": "Hi"}, ending(FAILED)],
        ),
        (Dialect.OPENAI_RESPONSES, STREAM, [ending({**FAILED, "output": [{"type": "reasoning"}]})]),
        (Dialect.OPENAI_RESPONSES, BODY, [{**FAILED, **SEARCHED}]),
        (Dialect.OPENAI_RESPONSES, BODY, [{**FAILED, "status": "queued", "error": None}]),
        (
            Dialect.OPENAI_RESPONSES,
            STREAM,
            [
                {"type": "response.created", "response": {"id": "r", "background": True}},
                {"type": "error", **ERROR},
            ],
        ),
        (Dialect.ANTHROPIC_MESSAGES, STREAM, [ANTHROPIC_START, ANTHROPIC_ERROR]),
        (
            Dialect.ANTHROPIC_MESSAGES,
            STREAM,
            [{"type": "content_block_delta", "delta": {"text": "Hi"}}, ANTHROPIC_ERROR],
        ),
        (Dialect.GEMINI, STREAM, [GEMINI_TEXT, ERROR]),
        (Dialect.GEMINI, STREAM, [{"usageMetadata": {"promptTokenCount": 9}}, ERROR]),
    ],
)
def test_after_something_of_an_answer_an_error_is_charged_as_an_estimate(dialect, kind, documents):
    found = measured(dialect, *documents, kind=kind)
    assert (found.is_unbilled, found.source) == (False, UsageSource.ESTIMATED)
    assert found.usage.input_tokens > 0


def test_an_error_with_a_usage_is_charged_by_it():
    usage = {"prompt_tokens": 9, "completion_tokens": 0}
    found = measured(Dialect.OPENAI_CHAT, {**ERROR, "usage": usage}, kind=BODY)
    assert (found.is_unbilled, found.source) == (False, UsageSource.EXACT)
    assert found.usage == Usage(input_uncached_tokens=9)
