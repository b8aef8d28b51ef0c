"""What a refusal and a declined hop of Anthropic's cost.

Source: Anthropic's documentation, "Refusals and fallback", how refusals are billed, November 2026.
"""

import json
from typing import Any

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.meter.meter import meter_for

ABSENT = object()
EXACT, ESTIMATED = UsageSource.EXACT, UsageSource.ESTIMATED
CATEGORIES = [
    ("cyber", True, EXACT),
    ("general_harms", True, EXACT),
    (None, True, EXACT),
    (ABSENT, True, EXACT),
    ("bio", False, EXACT),
    ("frontier_llm", False, EXACT),
    ("reasoning_extraction", False, EXACT),
    ("of-tomorrow", False, ESTIMATED),
    (7, False, ESTIMATED),
]
TEXT = {"type": "text", "text": "Hello there."}
USAGE = {"input_tokens": 400, "output_tokens": 3}


def details(category: object) -> dict[str, Any]:
    if category is ABSENT:
        return {"stop_details": None}
    return {"stop_details": {"type": "refusal", "category": category}}


def fallback(source: str, target: str, *category: object) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "fallback", "from": {"model": source}, "to": {"model": target}}
    if category:
        block["trigger"] = {"type": "refusal", "category": category[0]}
    return block


def hop(kind: str, model: str, read: int, written: int) -> dict[str, Any]:
    return {"type": kind, "model": model, "input_tokens": read, "output_tokens": written}


def measured(data: bytes, kind: str) -> Measurement:
    meter = meter_for(
        dialect=Dialect.ANTHROPIC_MESSAGES,
        provider="anthropic",
        facts=RequestFacts(model="claude-a", is_streaming="stream" in kind, body_bytes=4_000),
        content_type=kind,
        content_encoding=None,
    )
    for byte in data:
        meter.feed(bytes([byte]))
    return meter.finish()


def of_body(content: list[Any], usage: dict[str, Any], **stop: Any) -> Measurement:
    body = {"type": "message", "id": "m", "model": "claude-a", "content": content, "usage": usage}
    return measured(json.dumps({**body, **stop}).encode(), "application/json")


def of_stream(content: list[Any], usage: dict[str, Any], **stop: Any) -> Measurement:
    start = {"id": "m", "model": "claude-a", "content": [], "usage": {**USAGE, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for block in content:
        events.append({"type": "content_block_start", "index": 0, "content_block": block})
        events.append({"type": "content_block_stop", "index": 0})
    events.append({"type": "message_delta", "delta": stop, "usage": usage})
    events.append({"type": "message_stop"})
    data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    return measured(data, "text/event-stream")


either = pytest.mark.parametrize("answer", [of_body, of_stream], ids=["body", "stream"])


@either
@pytest.mark.parametrize(("category", "is_unbilled", "source"), CATEGORIES)
def test_a_refusal_before_any_output_is_billed_by_its_category(
    answer, category, is_unbilled, source
):
    found = answer([], USAGE, stop_reason="refusal", **details(category))
    assert (found.is_unbilled, found.source) == (is_unbilled, source)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (400, 3)


@either
@pytest.mark.parametrize("category", ["cyber", "bio", None])
def test_a_refusal_after_some_output_is_billed_whatever_its_category(answer, category):
    found = answer([TEXT], USAGE, stop_reason="refusal", **details(category))
    assert (found.is_unbilled, found.source) == (False, EXACT)


TWO_HOPS = [hop("message", "claude-a", 408, 0), hop("fallback_message", "claude-b", 412, 264)]
FALLEN_BACK = {"input_tokens": 412, "output_tokens": 264, "iterations": TWO_HOPS}


@either
@pytest.mark.parametrize(
    ("trigger", "models", "source"),
    [
        (["cyber"], ["claude-b"], EXACT),
        (["general_harms"], ["claude-b"], EXACT),
        ([None], ["claude-b"], EXACT),
        (["bio"], [None, "claude-b"], EXACT),
        (["of-tomorrow"], [None, "claude-b"], ESTIMATED),
        ([], [None, "claude-b"], ESTIMATED),
    ],
)
def test_a_declined_hop_is_billed_by_its_trigger(answer, trigger, models, source):
    blocks = [fallback("claude-a", "claude-b", *trigger), TEXT]
    found = answer(blocks, FALLEN_BACK, stop_reason="end_turn")
    assert [part.model for part in found.parts] == models
    assert found.source is source
    assert found.usage.output_tokens == 264
    assert not found.is_unbilled


@either
def test_a_hop_that_nothing_tells_of_is_billed_and_no_exact_one(answer):
    found = answer([TEXT], FALLEN_BACK, stop_reason="end_turn")
    assert (found.usage.input_tokens, found.source) == (820, ESTIMATED)


@either
def test_a_hop_that_wrote_something_is_billed(answer):
    passes = [hop("message", "claude-a", 408, 9), TWO_HOPS[1]]
    blocks = [fallback("claude-a", "claude-b", "cyber"), TEXT]
    found = answer(blocks, {**FALLEN_BACK, "iterations": passes}, stop_reason="end_turn")
    assert (found.usage.output_tokens, found.source) == (273, EXACT)


@either
def test_each_hop_of_a_longer_chain_has_its_own_trigger(answer):
    passes = [
        hop("message", "claude-a", 400, 0),
        hop("fallback_message", "claude-b", 500, 0),
        hop("fallback_message", "claude-c", 600, 7),
    ]
    blocks = [
        fallback("claude-a", "claude-b", "bio"),
        fallback("claude-b", "claude-c", "cyber"),
        TEXT,
    ]
    usage = {"input_tokens": 600, "output_tokens": 7, "iterations": passes}
    found = answer(blocks, usage, stop_reason="end_turn")
    assert [part.model for part in found.parts] == [None, "claude-c"]
    assert (found.usage.input_tokens, found.source) == (1_000, EXACT)


BOTH_REFUSED = [hop("message", "claude-a", 408, 0), hop("fallback_message", "claude-b", 412, 0)]


@either
@pytest.mark.parametrize("trigger", [["cyber"], [None], []])
def test_a_refusal_by_every_hop_has_no_content_and_is_not_billed(answer, trigger):
    usage = {"input_tokens": 412, "output_tokens": 0, "iterations": BOTH_REFUSED}
    blocks = [fallback("claude-a", "claude-b", *trigger)]
    found = answer(blocks, usage, stop_reason="refusal", **details("cyber"))
    assert (found.is_unbilled, found.source) == (True, EXACT)
    assert found.usage.input_tokens == 820


@either
@pytest.mark.parametrize(
    ("trigger", "category", "read", "source"),
    [
        ("bio", "cyber", 408, EXACT),
        ("cyber", "bio", 412, EXACT),
        ("bio", "bio", 820, EXACT),
        ("of-tomorrow", "cyber", 408, ESTIMATED),
        ("cyber", "of-tomorrow", 412, ESTIMATED),
    ],
)
def test_of_a_refusal_by_every_hop_those_of_a_billed_category_are_billed(
    answer, trigger, category, read, source
):
    usage = {"input_tokens": 412, "output_tokens": 0, "iterations": BOTH_REFUSED}
    blocks = [fallback("claude-a", "claude-b", trigger)]
    found = answer(blocks, usage, stop_reason="refusal", **details(category))
    assert not found.is_unbilled
    assert found.source is source
    assert found.usage.input_tokens == read


def test_a_fallback_is_no_first_token():
    data = json.dumps({"type": "content_block_start", "content_block": fallback("a", "b", "cyber")})
    meter = meter_for(
        dialect=Dialect.ANTHROPIC_MESSAGES,
        provider="anthropic",
        facts=RequestFacts(model="claude-a", is_streaming=True, body_bytes=9),
        content_type="text/event-stream",
        content_encoding=None,
    )
    meter.feed(b"data: %b\n\n" % data.encode())
    assert not meter.has_first_token
