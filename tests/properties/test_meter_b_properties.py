"""Responses, Gemini and Bedrock meters: the same for every split, and calm whatever comes."""

import base64
import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.meter.estimate import output_tokens_worst
from gateway.meter.meter import meter_for
from gateway.wire.eventstream import EventStreamFramer, encode_frame
from gateway.wire.json_array import JsonArrayFramer

CONTENT_TYPES = {
    Dialect.OPENAI_RESPONSES: "text/event-stream",
    Dialect.GEMINI: "text/event-stream",
    Dialect.BEDROCK: "application/vnd.amazon.eventstream",
}
texts = st.text(max_size=30) | st.sampled_from(
    ['"usageMetadata":{"promptTokenCount":9}', '\\"type\\":"error"', "\n\ndata: {}", "]}[{", "\\"]
)
counts = st.integers(0, 2**40) | st.sampled_from([None, -1, 0.5, "7", True, 10**30, {}, []])
cuts = st.lists(st.integers(0, 10_000), max_size=12)
damages = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3)


def usages(*names: str) -> st.SearchStrategy[dict]:
    return st.dictionaries(st.sampled_from(names), counts, max_size=len(names))


def sse(document: dict) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\r\n\r\n"


def frame(kind: str, document: dict) -> bytes:
    return encode_frame({":event-type": kind}, json.dumps(document).encode())


def inner(document: dict) -> bytes:
    return frame("chunk", {"bytes": base64.b64encode(json.dumps(document).encode()).decode()})


responses_events = st.one_of(
    texts.map(lambda text: sse({"type": "response.output_text.delta", "delta": text})),
    st.builds(
        lambda kind, usage: sse({"type": kind, "response": {"id": "r", "usage": usage}}),
        st.sampled_from(["response.created", "response.completed", "response.failed"]),
        usages("input_tokens", "output_tokens", "total_tokens"),
    ),
    texts.map(lambda text: sse({"type": "error", "code": text})),
)
gemini_events = st.builds(
    lambda text, usage, finish: sse(
        {
            "candidates": [{"content": {"parts": [{"text": text}]}, **finish}],
            "usageMetadata": usage,
        }
    ),
    texts,
    usages("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount"),
    st.sampled_from([{}, {"finishReason": "STOP"}]),
)
bedrock_events = st.one_of(
    texts.map(lambda text: frame("contentBlockDelta", {"delta": {"text": text}})),
    usages("inputTokens", "outputTokens").map(lambda usage: frame("metadata", {"usage": usage})),
    texts.map(lambda text: inner({"generation": text, "generation_token_count": 3})),
    usages("inputTokenCount", "outputTokenCount").map(
        lambda metrics: inner({"amazon-bedrock-invocationMetrics": metrics})
    ),
)


def streams(events: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(events, max_size=6).map(b"".join)


answers = st.one_of(
    st.tuples(st.just(Dialect.OPENAI_RESPONSES), streams(responses_events)),
    st.tuples(st.just(Dialect.GEMINI), streams(gemini_events)),
    st.tuples(st.just(Dialect.BEDROCK), streams(bedrock_events)),
)


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def facts(limit: int | None = None) -> RequestFacts:
    return RequestFacts(model="m", is_streaming=True, body_bytes=99, max_output_tokens=limit)


def measure(
    dialect: Dialect, pieces: list[bytes], content_type: str | None = None, limit: int | None = None
) -> Measurement:
    meter = meter_for(
        dialect=dialect,
        provider="p",
        facts=facts(limit),
        content_type=CONTENT_TYPES[dialect] if content_type is None else content_type,
        content_encoding=None,
    )
    for piece in pieces:
        meter.feed(piece)
    measured = meter.finish()
    assert meter.finish() is measured
    assert meter.is_complete == measured.is_complete
    return measured


@settings(max_examples=150, deadline=None)
@given(answer=answers, places=cuts)
def test_every_split_gives_the_same_measurement(answer, places):
    dialect, data = answer
    assert measure(dialect, split(data, places)) == measure(dialect, [data])


@settings(max_examples=100, deadline=None)
@given(answer=answers, places=cuts, damage=damages, end=st.integers(0, 10_000))
def test_damage_never_raises_and_depends_on_no_split(answer, places, damage, end):
    dialect, whole = answer
    data = bytearray(whole[: end % (len(whole) + 1)])
    for place, byte in damage:
        if data:
            data[place % len(data)] = byte
    assert measure(dialect, split(bytes(data), places)) == measure(dialect, [bytes(data)])


@settings(max_examples=100, deadline=None)
@given(
    dialect=st.sampled_from(list(CONTENT_TYPES)),
    data=st.binary(max_size=60) | st.text('{}[]"\\:,data \n', max_size=40).map(str.encode),
    content_type=st.sampled_from(["application/json", "text/event-stream", "", "text/plain"]),
)
def test_no_bytes_at_all_make_a_bill_of_nothing(dialect, data, content_type):
    measured = measure(dialect, [data], content_type)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens >= 1
    assert measured.usage.output_tokens >= 1


@settings(max_examples=100, deadline=None)
@given(answer=answers, limit=st.integers(1, 50))
def test_counts_never_fall_below_zero_and_estimates_stay_within_the_request(answer, limit):
    dialect, data = answer
    measured = measure(dialect, [data], limit=limit)
    usage = measured.usage
    assert usage.input_uncached_tokens >= 0
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    # What a provider told is kept, also where it is above the limit.
    if measured.usage_raw is None and measured.source is UsageSource.ESTIMATED:
        assert 1 <= usage.output_tokens <= output_tokens_worst(facts(limit))


@settings(max_examples=100, deadline=None)
@given(
    frames=st.lists(
        st.tuples(
            st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
            st.binary(max_size=40),
        ),
        max_size=5,
    ),
    places=cuts,
)
def test_frames_that_are_made_are_read_back(frames, places):
    data = b"".join(encode_frame(headers, payload) for headers, payload in frames)
    framer = EventStreamFramer()
    found = [each for piece in split(data, places) for each in framer.feed(piece)]
    assert [(dict(each.headers), each.payload) for each in found] == frames
    assert framer.is_between_frames
    assert not framer.is_damaged


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(texts, inside, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(
    elements=st.lists(st.dictionaries(texts, json_values, max_size=3), max_size=4),
    places=cuts,
    indent=st.sampled_from([None, 1]),
)
def test_an_array_comes_apart_into_its_elements(elements, places, indent):
    framer = JsonArrayFramer()
    data = json.dumps(elements, indent=indent).encode()
    found = [each for piece in split(data, places) for each in framer.feed(piece)]
    assert [json.loads(each) for each in found] == elements
    assert framer.is_complete
