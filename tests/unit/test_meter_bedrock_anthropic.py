"""Refusals, passes and failures of models on Bedrock, in frames and in whole bodies."""

import base64
import json
from typing import Any

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, Usage, UsageSource
from gateway.meter.meter import meter_for
from gateway.wire.eventstream import encode_frame
from tests.unit.test_meter_declines import CATEGORIES, TEXT, details, fallback, hop

METRICS = "amazon-bedrock-invocationMetrics"
EXACT, ESTIMATED = UsageSource.EXACT, UsageSource.ESTIMATED
USAGE = {"input_tokens": 400, "output_tokens": 3}


def frame(kind: str, payload: dict[str, Any]) -> bytes:
    headers = {":event-type": kind, ":message-type": "event"}
    return encode_frame(headers, json.dumps(payload).encode())


def inner(document: dict[str, Any]) -> bytes:
    encoded = base64.b64encode(json.dumps(document).encode()).decode()
    return frame("chunk", {"bytes": encoded})


def failure(kind: str = "throttlingException") -> bytes:
    return encode_frame({":exception-type": kind, ":message-type": "exception"}, b"{}")


def measured(
    data: bytes, headers: list[tuple[str, str]] | None = None, *, is_streaming: bool = True
) -> Measurement:
    meter = meter_for(
        dialect=Dialect.BEDROCK,
        provider="bedrock",
        facts=RequestFacts(model="global.claude", is_streaming=is_streaming, body_bytes=4_000),
        content_type="application/json",
        content_encoding=None,
        headers=headers or (),
    )
    for byte in data:
        meter.feed(bytes([byte]))
    return meter.finish()


def of_body(
    content: list[Any], usage: dict[str, Any], metrics: dict[str, int] | None = None, **stop: Any
) -> Measurement:
    body = {"type": "message", "model": "claude-a", "content": content, "usage": usage, **stop}
    names = {"inputTokenCount": "input", "outputTokenCount": "output"}
    headers = [
        (f"x-amzn-bedrock-{names[name]}-token-count", str(count))
        for name, count in (metrics or {}).items()
    ]
    return measured(json.dumps(body).encode(), headers, is_streaming=False)


def of_stream(
    content: list[Any], usage: dict[str, Any], metrics: dict[str, int] | None = None, **stop: Any
) -> Measurement:
    opening = {"model": "claude-a", "content": [], "usage": {**USAGE, "output_tokens": 1}}
    frames = [inner({"type": "message_start", "message": opening})]
    for block in content:
        empty = {**block, "text": ""} if "text" in block else block
        frames.append(inner({"type": "content_block_start", "index": 0, "content_block": empty}))
        if said := block.get("text"):
            delta = {"type": "text_delta", "text": said}
            frames.append(inner({"type": "content_block_delta", "index": 0, "delta": delta}))
        frames.append(inner({"type": "content_block_stop", "index": 0}))
    frames.append(inner({"type": "message_delta", "delta": stop, "usage": usage}))
    frames.append(inner({"type": "message_stop", **({METRICS: metrics} if metrics else {})}))
    return measured(b"".join(frames))


either = pytest.mark.parametrize("answer", [of_body, of_stream], ids=["body", "stream"])


@either
@pytest.mark.parametrize("metrics", [None, {"inputTokenCount": 400, "outputTokenCount": 3}])
@pytest.mark.parametrize(("category", "is_unbilled", "source"), CATEGORIES)
def test_a_refusal_before_any_output_is_billed_by_its_category(
    answer, metrics, category, is_unbilled, source
):
    found = answer([], USAGE, metrics, stop_reason="refusal", **details(category))
    assert (found.is_unbilled, found.source) == (is_unbilled, source)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (400, 3)


@either
@pytest.mark.parametrize("block", [TEXT, {"type": "tool_use", "name": "f", "input": {}}])
def test_a_refusal_after_some_output_is_billed(answer, block):
    found = answer([block], USAGE, stop_reason="refusal", **details("cyber"))
    assert (found.is_unbilled, found.source) == (False, EXACT)


@pytest.mark.parametrize(
    ("fields", "is_unbilled"),
    [
        ({}, True),
        ({"stop_details": {"category": "cyber"}}, True),
        ({"stop_details": {"category": "bio"}}, False),
    ],
)
def test_converse_shows_a_refusal_as_well(fields, is_unbilled):
    ending = {"stopReason": "refusal", "additionalModelResponseFields": fields}
    usage = {"usage": {"inputTokens": 400, "outputTokens": 3}}
    body = {"output": {"message": {"role": "assistant", "content": []}}, **ending, **usage}
    whole = measured(json.dumps(body).encode(), is_streaming=False)
    opening, end = frame("messageStart", {"role": "assistant"}), frame("messageStop", ending)
    stream = measured(opening + end + frame("metadata", usage))
    assert (whole.is_unbilled, stream.is_unbilled) == (is_unbilled, is_unbilled)
    assert whole.usage.input_tokens == stream.usage.input_tokens == 400

    body["output"] = {"message": {"content": [{"reasoningContent": {}}]}}
    block = frame("contentBlockStop", {"contentBlockIndex": 0})
    assert not measured(json.dumps(body).encode(), is_streaming=False).is_unbilled
    assert not measured(opening + block + end + frame("metadata", usage)).is_unbilled


PASSES = [
    {"type": "compaction", "input_tokens": 9_000, "output_tokens": 80},
    hop("advisor_message", "claude-b", 7, 4),
    hop("message", "claude-a", 10, 2),
]
COMPACTED = {"input_tokens": 10, "output_tokens": 2, "iterations": PASSES}


@either
@pytest.mark.parametrize(
    ("metrics", "usage", "source"),
    [
        (None, (9_017, 86), EXACT),
        ({"inputTokenCount": 9_017, "outputTokenCount": 86}, (9_017, 86), EXACT),
        ({"inputTokenCount": 10, "outputTokenCount": 2}, (9_017, 86), ESTIMATED),
        ({"inputTokenCount": 9_100, "outputTokenCount": 90}, (9_100, 90), ESTIMATED),
        ({"inputTokenCount": 9_100, "outputTokenCount": 2}, (9_100, 86), ESTIMATED),
    ],
)
def test_passes_are_billed_each_under_its_model_and_never_below_the_metrics(
    answer, metrics, usage, source
):
    found = answer([TEXT], COMPACTED, metrics, stop_reason="end_turn")
    assert (found.usage.input_tokens, found.usage.output_tokens) == usage
    assert found.source is source
    assert [part.model for part in found.parts][:3] == [None, "claude-b", None]
    assert found.parts[1].usage == Usage(input_uncached_tokens=7, output_tokens=4)


@either
def test_a_declined_hop_on_bedrock_is_billed_by_its_trigger(answer):
    passes = [hop("message", "claude-a", 408, 0), hop("fallback_message", "claude-b", 412, 264)]
    usage = {"input_tokens": 412, "output_tokens": 264, "iterations": passes}
    blocks = [fallback("claude-a", "claude-b", "cyber"), TEXT]
    found = answer(blocks, usage, stop_reason="end_turn")
    assert (found.usage.input_tokens, found.source) == (412, EXACT)


@either
def test_a_redeemed_fallback_credit_is_an_estimate(answer):
    usage = {**USAGE, "fallback_credit": {"status": {"type": "redeemed"}}}
    assert answer([TEXT], usage, stop_reason="end_turn").source is ESTIMATED


OPENING = frame("messageStart", {"role": "assistant"})
SAID = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}})
BLOCK_STOP = frame("contentBlockStop", {"contentBlockIndex": 0})
MESSAGE_START = inner({"type": "message_start", "message": {"model": "claude-a", "usage": USAGE}})


@pytest.mark.parametrize("data", [failure(), OPENING + failure()])
def test_a_failure_before_anything_is_not_billed(data):
    found = measured(data)
    assert (found.is_unbilled, found.source) == (True, EXACT)
    assert found.usage == Usage()
    assert found.error_type == "throttlingException"


@pytest.mark.parametrize(
    "data",
    [
        OPENING + SAID + failure(),
        OPENING + BLOCK_STOP + failure(),
        MESSAGE_START + failure(),
        OPENING[:-1] + b"x" + failure(),
        OPENING,
    ],
)
def test_a_failure_after_something_is_an_estimate(data):
    found = measured(data)
    assert (found.is_unbilled, found.source) == (False, ESTIMATED)
    assert found.usage.input_tokens > 0


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"inputTokens": 0, "outputTokens": 0}, (1_000, 100)),
        ({"inputTokens": 9}, (9, 100)),
        ({"inputTokens": 9, "outputTokens": None}, (9, 100)),
        ({"outputTokens": 7}, (1_000, 7)),
        ({"inputTokens": None, "outputTokens": 7}, (1_000, 7)),
    ],
)
def test_counts_that_are_missing_beside_text_are_estimated(usage, counts):
    said = "four" * 100
    content = [{"text": said}]
    body = {"output": {"message": {"content": content}}, "usage": usage, "stopReason": "end_turn"}
    delta = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": said}})
    end = frame("messageStop", {"stopReason": "end_turn"})
    for found in (
        measured(json.dumps(body).encode(), is_streaming=False),
        measured(OPENING + delta + end + frame("metadata", {"usage": usage})),
    ):
        assert (found.usage.input_tokens, found.usage.output_tokens) == counts
        assert found.source is ESTIMATED


def test_the_placeholder_that_opens_a_stream_is_no_count_of_its_output():
    found = of_stream([{**TEXT, "text": "four" * 100}], {"output_tokens": None}, stop_reason="x")
    assert (found.usage.output_tokens, found.source) == (100, ESTIMATED)
