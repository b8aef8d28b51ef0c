"""What the meter makes of Anthropic messages. The bodies here follow the published API reference."""

import json
from typing import Any

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, Usage, UsageSource
from gateway.meter.meter import meter_for

FACTS = RequestFacts(model="claude-a", is_streaming=True, body_bytes=4_001, max_output_tokens=900)
START_USAGE = {
    "input_tokens": 100,
    "cache_creation_input_tokens": 70,
    "cache_read_input_tokens": 3,
    "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 1,
    "service_tier": "standard",
    "speed": "fast",
    "inference_geo": "us",
}


def start(usage: dict[str, Any] | None = None) -> dict[str, Any]:
    message = {"id": "msg_1", "model": "claude-a", "content": [], "usage": usage or START_USAGE}
    return {"type": "message_start", "message": message}


def text(words: str) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": words}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def end(usage: dict[str, Any], stop_reason: str | None = "end_turn") -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}


BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
STOP = {"type": "message_stop"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n"
        % (event["type"].encode(), json.dumps(event, separators=(",", ":")).encode())
        for event in events
    )


def measure(
    body: bytes,
    *,
    facts: RequestFacts = FACTS,
    provider: str = "anthropic",
    kind: str = "text/event-stream",
) -> Measurement:
    meter = meter_for(
        dialect=Dialect.ANTHROPIC_MESSAGES,
        provider=provider,
        facts=facts,
        content_type=kind,
        content_encoding=None,
    )
    meter.feed(body)
    measured = meter.finish()
    assert meter.finish() is measured
    return measured


def test_a_stream_gives_disjoint_counts_and_the_selectors_of_the_response():
    measured = measure(sse(start(), BLOCK, text("hello"), end({"output_tokens": 42}), STOP))
    assert measured.usage == Usage(
        input_uncached_tokens=100,
        cache_read_tokens=3,
        cache_write_5m_tokens=50,
        cache_write_1h_tokens=20,
        output_tokens=42,
    )
    assert measured.source is UsageSource.EXACT
    assert measured.is_complete
    assert (measured.response_model, measured.provider_response_id) == ("claude-a", "msg_1")
    assert measured.stop_reason == "end_turn"
    selectors = measured.selectors
    assert (selectors.service_tier, selectors.speed, selectors.inference_geo) == (
        "standard",
        "fast",
        "us",
    )
    assert measured.usage_raw is not None
    assert measured.usage_raw["output_tokens"] == 42


def test_counts_of_the_last_delta_replace_those_of_the_start_and_nulls_do_not():
    measured = measure(
        sse(
            start(),
            BLOCK,
            end({"input_tokens": 5_000, "output_tokens": 9}, None),
            end({"input_tokens": 9_000, "cache_read_input_tokens": None, "output_tokens": 30}),
            STOP,
        )
    )
    assert measured.usage.input_uncached_tokens == 9_000
    assert measured.usage.cache_read_tokens == 3
    assert measured.usage.output_tokens == 30


def test_counts_without_a_reason_to_stop_are_running_ones():
    cut = measure(sse(start(), BLOCK, text("hello" * 40), end({"output_tokens": 9}, None)))
    assert cut.source is UsageSource.ESTIMATED
    assert cut.usage.output_tokens == 50
    whole = measure(sse(start(), BLOCK, text("hello" * 40), end({"output_tokens": 9})))
    assert (whole.source, whole.usage.output_tokens) == (UsageSource.EXACT, 9)


def test_a_refusal_without_counts_is_not_taken_for_a_free_one():
    facts = RequestFacts(model="claude-a", is_streaming=False, body_bytes=400)
    body = {"type": "message", "model": "claude-a", "content": [], "stop_reason": "refusal"}
    bare = measure(json.dumps(body).encode(), facts=facts, kind="application/json")
    assert (bare.source, bare.is_unbilled) == (UsageSource.ESTIMATED, False)
    told = json.dumps({**body, "usage": {"input_tokens": 100, "output_tokens": 0}}).encode()
    assert measure(told, facts=facts, kind="application/json").is_unbilled


def test_counts_above_the_limit_of_the_request_are_not_lowered_by_an_estimate():
    cut = measure(sse(start({"input_tokens": 100, "output_tokens": 1_000}), BLOCK))
    assert (cut.source, cut.usage.output_tokens) == (UsageSource.ESTIMATED, 1_000)


@pytest.mark.parametrize(
    ("ttls", "writes", "source"),
    [
        ((), (50, 20, 30), UsageSource.EXACT),
        (("5m",), (80, 20, 0), UsageSource.EXACT),
        (("1h", "1h"), (50, 50, 0), UsageSource.EXACT),
        (("1h", "5m"), (50, 50, 0), UsageSource.ESTIMATED),
    ],
)
def test_writes_that_the_delta_adds_have_the_ttl_of_the_request(
    ttls: tuple[str, ...], writes: tuple[int, int, int], source: UsageSource
):
    facts = RequestFacts(model="claude-a", is_streaming=True, body_bytes=9, cache_ttls=ttls)
    usage = {"cache_creation_input_tokens": 100, "output_tokens": 5}
    measured = measure(sse(start(), BLOCK, end(usage), STOP), facts=facts)
    found = measured.usage
    assert (
        found.cache_write_5m_tokens,
        found.cache_write_1h_tokens,
        found.cache_write_unsplit_tokens,
    ) == writes
    assert measured.source is source


def test_iterations_are_billed_each_under_the_model_that_did_it():
    usage = {
        "input_tokens": 10,
        "output_tokens": 2,
        "server_tool_use": {"web_search_requests": 3},
        "iterations": [
            {"type": "compaction", "input_tokens": 9_000, "output_tokens": 80},
            {"type": "advisor_message", "model": "claude-b", "input_tokens": 7, "output_tokens": 4},
            {
                "type": "message",
                "model": "claude-a",
                "input_tokens": 10,
                "output_tokens": 2,
                "cache_creation_input_tokens": 6,
                "cache_creation": {"ephemeral_1h_input_tokens": 6},
            },
        ],
    }
    measured = measure(sse(start(), BLOCK, end(usage), STOP))
    assert [part.model for part in measured.parts] == [None, "claude-b", None]
    assert measured.usage == Usage(
        input_uncached_tokens=9_017,
        output_tokens=86,
        cache_write_1h_tokens=6,
        web_search_requests=3,
    )


def test_a_refusal_before_any_content_is_not_billed():
    measured = measure(sse(start(), end({"output_tokens": 4}, "refusal"), STOP))
    assert measured.is_unbilled
    assert measured.usage.input_uncached_tokens == 100


def test_a_refusal_in_the_middle_of_content_is_billed():
    refused = end({"output_tokens": 4}, "refusal")
    assert not measure(sse(start(), BLOCK, text("I"), refused, STOP)).is_unbilled


def test_a_refused_document_is_billed_if_it_has_content():
    body = {"type": "message", "model": "claude-a", "stop_reason": "refusal", "usage": START_USAGE}
    empty = json.dumps({**body, "content": []}).encode()
    assert measure(empty, kind="application/json").is_unbilled
    spoken = json.dumps({**body, "content": [{"type": "text", "text": "No."}]}).encode()
    assert not measure(spoken, kind="application/json").is_unbilled


def test_a_stream_cut_before_its_usage_is_estimated_from_start_and_deltas():
    words = [text("four" * 10), text("four" * 10), {**text(""), "delta": {"thinking": "four" * 5}}]
    tool = {**text(""), "delta": {"type": "input_json_delta", "partial_json": "four" * 5}}
    measured = measure(sse(start(), BLOCK, *words, tool))
    assert measured.source is UsageSource.ESTIMATED
    assert not measured.is_complete
    assert measured.usage.input_uncached_tokens == 100
    assert measured.usage.cache_write_1h_tokens == 20
    assert measured.usage.output_tokens == 30


def test_an_estimate_stays_within_what_the_request_allowed():
    measured = measure(sse(start(), BLOCK, *[text("four" * 1000)] * 20))
    assert measured.usage.output_tokens == 900


def test_a_long_cut_stream_is_estimated_closely():
    facts = RequestFacts(model="claude-a", is_streaming=True, body_bytes=9)
    words = [text("word " * (1 + index % 7)) for index in range(2_000)]
    whole = sum(len(event["delta"]["text"]) for event in words) // 4
    measured = measure(sse(start(), BLOCK, *words), facts=facts)
    assert whole * 0.7 < measured.usage.output_tokens < whole * 1.4


def test_nothing_at_all_is_estimated_from_the_request():
    measured = measure(b"")
    assert measured.source is UsageSource.ESTIMATED
    assert (measured.usage.input_uncached_tokens, measured.usage.output_tokens) == (1_001, 1)
    assert not measured.is_complete


def test_an_error_inside_the_stream_is_named_and_its_cost_estimated():
    measured = measure(sse(start(), BLOCK, text("hello"), OVERLOADED))
    assert measured.error_type == "overloaded_error"
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens >= 2


def test_usage_in_the_text_of_the_model_does_not_count():
    quoted = json.dumps(end({"output_tokens": 9_999})) + sse(end({"output_tokens": 7})).decode()
    tool = {**text(""), "delta": {"type": "input_json_delta", "partial_json": quoted}}
    ends_in_key = text('"output_tokens')
    measured = measure(
        sse(start(), BLOCK, text(quoted), tool, ends_in_key, end({"output_tokens": 42}), STOP)
    )
    assert measured.usage.output_tokens == 42
    assert measured.source is UsageSource.EXACT


@pytest.mark.parametrize("count", [-5, 10**15, 1.5, "12", True, []])
def test_a_count_that_is_none_is_estimated(count: object):
    measured = measure(sse(start(), BLOCK, text("four" * 6), end({"output_tokens": count}), STOP))
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens == 6
    assert measured.usage.input_uncached_tokens == 100


@pytest.mark.parametrize(
    ("status", "source"),
    [
        ("redeemed", UsageSource.ESTIMATED),
        ({"type": "redeemed"}, UsageSource.ESTIMATED),
        ({"type": "not_applied", "reason": "expired"}, UsageSource.EXACT),
    ],
)
def test_a_redeemed_fallback_credit_is_marked_as_an_estimate(status: object, source: UsageSource):
    usage = {"output_tokens": 5, "fallback_credit": {"status": status}}
    measured = measure(sse(start(), BLOCK, text("four" * 9), end(usage), STOP))
    assert measured.source is source
    assert measured.usage.output_tokens == 5


def test_a_gateway_that_reports_its_bill_is_believed():
    usage = {"input_tokens": 12, "output_tokens": 5, "cost": 0.000123}
    zeros = {"input_tokens": 0, "output_tokens": 0}
    body = sse(start(zeros), BLOCK, text("x"), end(usage), STOP) + b"event: data\ndata: [DONE]\n\n"
    measured = measure(body, provider="openrouter")
    assert measured.provider_cost_pico_usd == 123_000_000
    assert measured.source is UsageSource.PROVIDER_REPORTED
    assert measured.usage.input_uncached_tokens == 12


def test_a_document_is_measured_like_a_stream():
    body = {"type": "message", "id": "msg_2", "model": "claude-a", "stop_reason": "end_turn"}
    body |= {
        "content": [{"type": "text", "text": "Hi"}],
        "usage": {**START_USAGE, "output_tokens": 8},
    }
    measured = measure(json.dumps(body).encode(), kind="application/json")
    assert measured.is_complete
    assert measured.source is UsageSource.EXACT
    assert measured.usage.output_tokens == 8
    assert measured.usage.cache_write_5m_tokens == 50


def test_the_first_token_and_the_end_are_seen_as_they_pass():
    meter = meter_for(
        dialect=Dialect.ANTHROPIC_MESSAGES,
        provider="anthropic",
        facts=FACTS,
        content_type="text/event-stream; charset=utf-8",
        content_encoding="identity",
    )
    meter.feed(sse(start(), {"type": "ping"}))
    assert not meter.has_first_token
    meter.feed(sse(BLOCK, text("hello")))
    assert meter.has_first_token
    meter.feed(sse(end({"output_tokens": 4})))
    assert not meter.is_complete
    meter.feed(sse(STOP))
    assert meter.is_complete


def test_an_event_too_long_to_keep_leaves_usage_after_it_exact():
    long = text("x" * (3 << 20))
    exact = measure(sse(start(), BLOCK, long, end({"output_tokens": 800}), STOP))
    assert (exact.source, exact.usage.output_tokens) == (UsageSource.EXACT, 800)
    lost = measure(sse(start(), BLOCK, end({"output_tokens": 800}), long))
    assert lost.source is UsageSource.ESTIMATED
    assert lost.usage.output_tokens == 900


@pytest.mark.parametrize("blank", [b"\n\n\n", b"\n\n\n\n\n"])
def test_more_blank_lines_than_one_change_nothing(blank: bytes):
    body = sse(start(), BLOCK, text("hello"), text("you"))
    spaced = body.replace(b"\n\n", blank)
    assert measure(spaced) == measure(body)
    assert measure(spaced[:-1]) == measure(body)
    assert measure(body[:-1]) == measure(body)
