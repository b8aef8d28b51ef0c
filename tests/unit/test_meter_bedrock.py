import base64
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, Usage, UsageSource
from gateway.meter.bedrock import BedrockMeter
from gateway.meter.body import BODY_BYTES_MAX
from gateway.meter.meter import meter_for
from gateway.wire.eventstream import encode_frame
from gateway.wire.request_facts import RequestTarget, read_facts

EVENT_STREAM = "application/vnd.amazon.eventstream"
CONVERSE = (Path(__file__).parents[1] / "transcripts" / "bedrock" / "converse.json").read_bytes()
METRICS = "amazon-bedrock-invocationMetrics"


def facts(**changes) -> RequestFacts:
    known = {"model": "us.anthropic.claude-x", "is_streaming": True, "body_bytes": 400}
    return RequestFacts(**{**known, **changes})


def frame(kind: str, payload: dict) -> bytes:
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return encode_frame(headers, json.dumps(payload).encode())


def inner(document: dict) -> bytes:
    """A model's own event as invoke-with-response-stream wraps it, padding included."""
    encoded = base64.b64encode(json.dumps(document).encode()).decode()
    return frame("chunk", {"bytes": encoded, "p": "abcdefgh"})


def failure(kind: str) -> bytes:
    headers = {":exception-type": kind, ":message-type": "exception"}
    return encode_frame(headers, b'{"message":"m"}')


def text_delta(text: str) -> bytes:
    payload = {"contentBlockIndex": 0, "delta": {"text": text}, "p": "abcdefghijklmnopqrstuvwxyz"}
    return frame("contentBlockDelta", payload)


def metadata(**usage) -> bytes:
    return frame("metadata", {"metrics": {"latencyMs": 9}, "p": "abc", "usage": usage})


OPENING = frame("messageStart", {"p": "a", "role": "assistant"})
STOP = frame("messageStop", {"p": "a", "stopReason": "end_turn"})
ANTHROPIC = (
    inner(
        {
            "type": "message_start",
            "message": {
                "id": "msg_bdrk_1",
                "model": "claude-3-5-sonnet-20240620",
                "content": [],
                "usage": {
                    "input_tokens": 702,
                    "cache_creation_input_tokens": 30,
                    "cache_creation": {
                        "ephemeral_5m_input_tokens": 10,
                        "ephemeral_1h_input_tokens": 20,
                    },
                    "cache_read_input_tokens": 7,
                    "output_tokens": 1,
                },
            },
        }
    ),
    inner({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Of course."}}),
    inner(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 130},
        }
    ),
)


def measure(*frames: bytes, headers=(), **changes) -> Measurement:
    meter = BedrockMeter(
        provider="bedrock", facts=facts(**changes), content_type=EVENT_STREAM, headers=headers
    )
    meter.feed(b"".join(frames))
    return meter.finish()


def measure_body(body: bytes | dict, headers=(), **changes) -> Measurement:
    meter = BedrockMeter(
        provider="bedrock",
        facts=facts(is_streaming=False, **changes),
        content_type="application/json",
        headers=headers,
    )
    meter.feed(body if isinstance(body, bytes) else json.dumps(body).encode())
    return meter.finish()


def test_converse_counts_cache_beside_the_input_and_splits_it_by_ttl_usage_md_1_6():
    measured = measure_body(CONVERSE)
    assert measured.usage == Usage(
        input_uncached_tokens=3,
        cache_read_tokens=1712,
        cache_write_5m_tokens=236,
        cache_write_1h_tokens=64,
        output_tokens=121,
    )
    assert measured.usage.input_tokens + measured.usage.output_tokens == 2136
    assert measured.source is UsageSource.EXACT
    assert measured.is_complete
    assert measured.stop_reason == "end_turn"
    assert measured.selectors.service_tier == "default"
    assert measured.selectors.speed == "standard"
    assert measured.usage_raw["totalTokens"] == 2136
    assert measured.response_model is None


def test_the_usage_of_a_converse_stream_comes_after_its_stop_usage_md_1_6():
    meter = BedrockMeter(provider="bedrock", facts=facts(), content_type=EVENT_STREAM)
    meter.feed(OPENING + text_delta("Hi") + STOP)
    assert not meter.is_complete
    meter.feed(metadata(inputTokens=18, outputTokens=181, totalTokens=199))
    assert meter.is_complete
    measured = meter.finish()
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (18, 181)
    assert measured.source is UsageSource.EXACT
    assert measured.stop_reason == "end_turn"


def test_converse_metadata_names_tier_and_latency_usage_md_1_6():
    payload = {
        "usage": {"inputTokens": 1, "outputTokens": 2},
        "serviceTier": {"type": "flex"},
        "performanceConfig": {"latency": "optimized"},
    }
    selectors = measure(frame("metadata", payload)).selectors
    assert (selectors.service_tier, selectors.speed) == ("flex", "optimized")


@pytest.mark.parametrize(
    ("ttls", "expected", "source"),
    [
        ((), (0, 0, 50), UsageSource.EXACT),
        (("5m",), (50, 0, 0), UsageSource.EXACT),
        (("1h", "1h"), (0, 50, 0), UsageSource.EXACT),
        (("5m", "1h"), (0, 50, 0), UsageSource.ESTIMATED),
    ],
)
def test_writes_without_a_ttl_have_the_one_asked_for_usage_md_1_1(ttls, expected, source):
    usage = {"inputTokens": 3, "outputTokens": 4, "cacheWriteInputTokens": 50}
    measured = measure(metadata(**usage), cache_ttls=ttls)
    found = measured.usage
    assert (
        found.cache_write_5m_tokens,
        found.cache_write_1h_tokens,
        found.cache_write_unsplit_tokens,
    ) == expected
    assert measured.source is source


def test_breakpoints_of_both_kinds_make_the_ttl_of_a_write_an_estimate():
    points = [{"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    target = RequestTarget(dialect=Dialect.BEDROCK, model="m", action="converse")
    ttls = read_facts(target, json.dumps({"system": points}).encode()).cache_ttls
    usage = {"inputTokens": 3, "outputTokens": 4, "cacheWriteInputTokens": 50}
    measured = measure(metadata(**usage), cache_ttls=ttls)
    assert (measured.source, measured.usage.cache_write_1h_tokens) == (UsageSource.ESTIMATED, 50)
    told = measure(
        metadata(**usage, cacheDetails=[{"ttl": "1h", "inputTokens": 50}]), cache_ttls=ttls
    )
    assert told.source is UsageSource.EXACT


def test_metrics_win_over_the_models_own_count_and_the_conflict_is_noted_usage_md_1_6():
    # Measured of Claude 3.5 Sonnet calling a tool: 130 by its message_delta, 98 by the metrics.
    end = {"type": "message_stop", METRICS: {"inputTokenCount": 702, "outputTokenCount": 98}}
    measured = measure(*ANTHROPIC, inner(end))
    assert measured.usage == Usage(
        input_uncached_tokens=702,
        cache_read_tokens=7,
        cache_write_5m_tokens=10,
        cache_write_1h_tokens=20,
        output_tokens=98,
    )
    assert measured.source is UsageSource.EXACT
    assert measured.usage_raw["usage_conflict"] == {
        "model": {"input_tokens": 702, "output_tokens": 130},
        "metrics": {"input_tokens": 702, "output_tokens": 98},
    }
    assert measured.usage_raw[METRICS] == end[METRICS]
    assert measured.response_model == "claude-3-5-sonnet-20240620"
    assert measured.provider_response_id == "msg_bdrk_1"
    assert measured.stop_reason == "tool_use"


def test_metrics_that_agree_are_no_conflict_usage_md_1_6():
    metrics = {
        "inputTokenCount": 702,
        "outputTokenCount": 130,
        "cacheReadInputTokenCount": 7,
        "cacheWriteInputTokenCount": 30,
    }
    measured = measure(*ANTHROPIC, inner({"type": "message_stop", METRICS: metrics}))
    assert "usage_conflict" not in measured.usage_raw
    assert measured.usage.cache_write_1h_tokens == 20


def test_a_split_that_exceeds_the_metrics_writes_is_left_out():
    metrics = {"inputTokenCount": 702, "outputTokenCount": 130, "cacheWriteInputTokenCount": 12}
    usage = measure(*ANTHROPIC, inner({"type": "message_stop", METRICS: metrics})).usage
    assert (usage.cache_write_unsplit_tokens, usage.cache_write_1h_tokens) == (12, 0)


def test_an_anthropic_stream_without_metrics_has_its_own_usage():
    measured = measure(*ANTHROPIC, inner({"type": "message_stop"}))
    assert (measured.usage.output_tokens, measured.source) == (130, UsageSource.EXACT)
    assert measured.is_complete


def test_novas_own_stream_ends_with_metrics_usage_md_1_6():
    metrics = {"inputTokenCount": 30, "outputTokenCount": 55, "cacheReadInputTokenCount": 0}
    usage = {"inputTokens": 30, "outputTokens": 55, "cacheReadInputTokenCount": 0}
    measured = measure(
        inner({"messageStart": {"role": "assistant"}}),
        inner({"contentBlockDelta": {"delta": {"text": "On"}, "contentBlockIndex": 0}}),
        inner({"messageStop": {"stopReason": "end_turn"}}),
        inner({"metadata": {"usage": usage, "metrics": {}}, METRICS: metrics}),
    )
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (30, 55)
    assert measured.source is UsageSource.EXACT
    assert measured.stop_reason == "end_turn"


def llama(text: str, number: int, **more) -> bytes:
    prompt = 10 if number == 1 else None
    return inner(
        {
            "generation": text,
            "prompt_token_count": prompt,
            "generation_token_count": number,
            "stop_reason": None,
            **more,
        }
    )


def test_a_familys_running_counts_are_the_estimate_of_a_cut_stream_usage_md_1_7():
    measured = measure(*(llama(" a", number) for number in range(1, 43)))
    assert measured.source is UsageSource.ESTIMATED
    assert not measured.is_complete
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (10, 42)
    last = llama(
        ".", 43, stop_reason="length", **{METRICS: {"inputTokenCount": 10, "outputTokenCount": 43}}
    )
    whole = measure(*(llama(" a", number) for number in range(1, 43)), last)
    assert (whole.source, whole.usage.output_tokens) == (UsageSource.EXACT, 43)
    assert whole.stop_reason == "length"


def test_running_counts_are_above_what_the_chunks_of_a_cut_stream_show():
    measured = measure(llama(" a", 1), llama(" b", 99))
    assert measured.source is UsageSource.ESTIMATED
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (10, 99)


def test_a_count_of_null_does_not_take_back_what_an_event_before_told():
    usage = {"input_tokens": None, "cache_read_input_tokens": None, "output_tokens": 130}
    end = inner({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    measured = measure(*ANTHROPIC[:2], end, inner({"type": "message_stop"}))
    found = measured.usage
    assert (found.input_uncached_tokens, found.cache_read_tokens) == (702, 7)
    assert (found.output_tokens, measured.source) == (130, UsageSource.EXACT)


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ({"usage": {"input_tokens": 16, "output_tokens": 29}, "stop_reason": "end_turn"}, (16, 29)),
        ({"usage": {"inputTokens": 5, "outputTokens": 6}, "output": {}}, (5, 6)),
        ({"generation": "g", "prompt_token_count": 7, "generation_token_count": 8}, (7, 8)),
        ({"inputTextTokenCount": 9, "results": [{"tokenCount": 4}, {"tokenCount": 3}]}, (9, 7)),
        ({"inputTextTokenCount": 9, "embedding": [0.5]}, (9, 0)),
        ({"usage": {"prompt_tokens": 11, "completion_tokens": 12}, "choices": []}, (11, 12)),
    ],
)
def test_every_familys_body_is_read_usage_md_1_6(body, counts):
    measured = measure_body(body)
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == counts
    assert measured.source is UsageSource.EXACT
    assert measured.is_complete


def test_the_openai_family_counts_cached_tokens_inside_the_prompt():
    usage = {
        "prompt_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens": 12,
        "completion_tokens_details": {"reasoning_tokens": 9},
    }
    assert measure_body({"usage": usage}).usage == Usage(
        input_uncached_tokens=40, cache_read_tokens=60, output_tokens=12, reasoning_tokens=9
    )


OPENAI_USAGE = {
    "prompt_tokens": 100,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "completion_tokens": 12,
}
OPENAI_SPLIT = Usage(
    input_uncached_tokens=10, cache_read_tokens=60, cache_write_unsplit_tokens=30, output_tokens=12
)


def counted(**counts: int) -> list[tuple[str, str]]:
    return [
        (f"x-amzn-bedrock-{name.replace('_', '-')}-token-count", str(count))
        for name, count in counts.items()
    ]


@pytest.mark.parametrize(
    ("counts", "usage", "source"),
    [
        ({}, OPENAI_SPLIT, UsageSource.EXACT),
        ({"input": 100, "output": 12}, OPENAI_SPLIT, UsageSource.EXACT),
        ({"input": 10, "output": 12}, OPENAI_SPLIT, UsageSource.EXACT),
        (
            {"input": 100, "cache_read_input": 60, "cache_write_input": 30},
            OPENAI_SPLIT,
            UsageSource.EXACT,
        ),
        (
            {"input": 100, "cache_read_input": 0, "cache_write_input": 0},
            Usage(input_uncached_tokens=100, output_tokens=12),
            UsageSource.EXACT,
        ),
        (
            {"input": 70, "output": 12},
            replace(OPENAI_SPLIT, input_uncached_tokens=70),
            UsageSource.ESTIMATED,
        ),
    ],
)
def test_what_the_openai_family_cached_is_not_counted_twice(counts, usage, source):
    measured = measure_body({"usage": OPENAI_USAGE}, counted(**counts))
    assert (measured.usage, measured.source) == (usage, source)


HEADERS = (
    ("Content-Type", "application/json"),
    ("X-Amzn-Bedrock-Input-Token-Count", "21"),
    ("x-amzn-bedrock-output-token-count", "22"),
    ("X-Amzn-Bedrock-Cache-Read-Input-Token-Count", "23"),
    ("X-Amzn-Bedrock-Cache-Write-Input-Token-Count", "24"),
)


@pytest.mark.parametrize("body", [b'{"text":"c"}', b"PNG", b'{"text":"cu'])
def test_headers_have_the_counts_of_a_body_that_has_none_usage_md_1_6(body):
    measured = measure_body(body, HEADERS)
    assert measured.usage == Usage(
        input_uncached_tokens=21,
        cache_read_tokens=23,
        cache_write_unsplit_tokens=24,
        output_tokens=22,
    )
    assert measured.source is UsageSource.EXACT
    assert measured.usage_raw == {
        METRICS: {
            "inputTokenCount": 21,
            "outputTokenCount": 22,
            "cacheReadInputTokenCount": 23,
            "cacheWriteInputTokenCount": 24,
        }
    }


def test_headers_win_over_the_body_and_the_conflict_is_noted_usage_md_1_6():
    body = {"usage": {"input_tokens": 16, "output_tokens": 29}}
    headers = HEADERS[:3]
    measured = measure_body(body, headers)
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (21, 22)
    assert measured.usage_raw["usage_conflict"]["model"]["output_tokens"] == 29


@pytest.mark.parametrize("value", ["", "-1", "1.5", "many", "1" * 40, "²"])
def test_a_header_that_is_no_count_is_passed_over(value):
    measured = measure_body(
        {"usage": {"input_tokens": 16, "output_tokens": 29}},
        [("x-amzn-bedrock-input-token-count", value)],
    )
    assert measured.usage.input_tokens == 16


@pytest.mark.parametrize("kind", ["throttlingException", "modelStreamErrorException"])
def test_an_exception_frame_after_a_200_leaves_an_estimate_usage_md_1_6(kind):
    measured = measure(OPENING, text_delta("a" * 400), failure(kind))
    assert measured.error_type == kind
    assert measured.is_complete
    assert measured.source is UsageSource.ESTIMATED
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (100, 100)


def test_a_failure_behind_the_counts_leaves_them_in_doubt():
    told = metadata(inputTokens=18, outputTokens=181)
    measured = measure(OPENING, text_delta("a"), STOP, told, failure("modelStreamErrorException"))
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (18, 181)
    assert measured.source is UsageSource.ESTIMATED


def test_a_body_beyond_the_bound_is_not_kept():
    meter = BedrockMeter(
        provider="bedrock", facts=facts(is_streaming=False), content_type="application/json"
    )
    piece = b"x" * (1 << 20)
    for _ in range(BODY_BYTES_MAX // len(piece) + 1):
        meter.feed(piece)
    assert meter._pieces == []
    assert meter.finish().source is UsageSource.ESTIMATED


def test_an_error_frame_is_named_by_its_code():
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "m"}
    assert measure(encode_frame(headers, b"")).error_type == "InternalError"
    bare = measure(encode_frame({":message-type": "exception"}, b""))
    assert bare.error_type == "exception"


def test_a_cut_converse_stream_is_estimated_from_its_deltas_usage_md_1_0_4():
    measured = measure(OPENING, *(text_delta("word") for _ in range(30)))
    assert measured.source is UsageSource.ESTIMATED
    assert not measured.is_complete
    assert measured.usage.output_tokens == 30
    thoughts = frame("contentBlockDelta", {"delta": {"reasoningContent": {"text": "a" * 200}}})
    tool = frame("contentBlockDelta", {"delta": {"toolUse": {"input": '{"a":"' + "b" * 94}}})
    assert measure(thoughts, tool).usage.output_tokens == pytest.approx(75, abs=2)
    assert measure(thoughts, max_output_tokens=20).usage.output_tokens == 20


def test_each_delta_of_a_cut_stream_is_a_token_at_least():
    assert measure(OPENING, *(text_delta("a") for _ in range(30))).usage.output_tokens == 30


def test_a_cut_anthropic_stream_keeps_what_its_start_told():
    measured = measure(*ANTHROPIC[:2])
    assert measured.source is UsageSource.ESTIMATED
    usage = measured.usage
    assert (usage.input_uncached_tokens, usage.cache_read_tokens) == (702, 7)
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (10, 20)
    assert usage.output_tokens == 3


def test_a_damaged_frame_makes_the_counts_uncertain():
    damaged = bytearray(text_delta("Hi"))
    damaged[-5] ^= 1
    measured = measure(OPENING, bytes(damaged), STOP, metadata(inputTokens=18, outputTokens=181))
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (18, 181)
    assert measured.source is UsageSource.ESTIMATED


def test_a_broken_chunk_makes_the_counts_uncertain():
    broken = frame("chunk", {"bytes": "QUJ"})
    end = inner({"type": "message_stop", METRICS: {"inputTokenCount": 1, "outputTokenCount": 2}})
    assert measure(broken, end).source is UsageSource.ESTIMATED


def test_a_trace_with_usage_of_its_own_is_not_the_models():
    payload = {
        "trace": {"guardrail": {"invocationMetrics": {"usage": {"inputTokens": 999}}}},
        "usage": {"inputTokens": 17, "outputTokens": 16},
    }
    measured = measure(frame("metadata", payload))
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (17, 16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        bytes(40),
        b"{",
        b"[]",
        b"\xff" * 20,
        frame("chunk", {"bytes": 7}),
        OPENING[:-1],
    ],
)
def test_what_is_no_answer_is_estimated_and_not_zero(data):
    measured = measure(data)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens == 100
    assert measured.usage.output_tokens >= 1
    assert not measured.is_complete


def test_the_form_shows_by_the_first_byte_whatever_the_content_type():
    meter = BedrockMeter(provider="bedrock", facts=facts(), content_type="application/json")
    meter.feed(metadata(inputTokens=18, outputTokens=181))
    assert meter.finish().usage.output_tokens == 181


def test_first_content_is_noticed():
    meter = BedrockMeter(provider="bedrock", facts=facts(), content_type=EVENT_STREAM)
    meter.feed(OPENING + ANTHROPIC[0])
    assert not meter.has_first_token
    meter.feed(ANTHROPIC[1])
    assert meter.has_first_token


def test_the_dialect_is_in_the_table_of_meters():
    meter = meter_for(
        dialect=Dialect.BEDROCK,
        provider="bedrock",
        facts=facts(),
        content_type=EVENT_STREAM,
        content_encoding=None,
        headers=HEADERS,
    )
    assert isinstance(meter, BedrockMeter)
