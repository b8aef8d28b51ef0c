"""Whatever the split of the bytes, whatever the text, wherever the cut: one measurement."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.meter.meter import meter_for

FACTS = RequestFacts(model="m", is_streaming=True, body_bytes=400)
DIALECTS = (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT)
ANTHROPIC, OPENAI = DIALECTS
TRICKS = (
    '{"usage":{"prompt_tokens":9,"completion_tokens":9}}',
    'data: {"type":"message_delta","usage":{"output_tokens":99}}\n\n',
    '"output_tokens',
    '"prompt_tokens',
    "data: [DONE]\n\n",
    '"error"',
    "\u2028\\\r\n\x00",
    'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
words = st.lists(st.one_of(st.text(max_size=30), st.sampled_from(TRICKS)), max_size=25)


def measure(dialect: Dialect, pieces: list[bytes]) -> Measurement:
    meter = meter_for(
        dialect=dialect,
        provider="openai",
        facts=FACTS,
        content_type="text/event-stream",
        content_encoding=None,
    )
    for piece in pieces:
        meter.feed(piece)
    return meter.finish()


def events(dialect: Dialect, texts: list[str]) -> list[dict[str, Any]]:
    """A whole stream that says these texts; its usage comes with its last event but the end."""
    if dialect is OPENAI:
        chunks = [
            {"id": "c", "choices": [{"index": 0, "delta": {"content": each}}], "usage": None}
            for each in texts
        ]
        usage = {"prompt_tokens": 20, "completion_tokens": 7}
        return [*chunks, {"id": "c", "choices": [], "usage": usage}]
    start = {"id": "m", "model": "m", "usage": {"input_tokens": 20, "output_tokens": 1}}
    deltas = [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": each}}
        for each in texts
    ]
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        *deltas,
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 7},
        },
    ]


def stream(dialect: Dialect, texts: list[str], *, is_ascii: bool = False) -> bytes:
    said = b"".join(
        b"data: %b\n\n"
        % json.dumps(each, separators=(",", ":"), ensure_ascii=is_ascii).encode(errors="replace")
        for each in events(dialect, texts)
    )
    end = b"[DONE]" if dialect is OPENAI else b'{"type":"message_stop"}'
    return said + b"data: %b\n\n" % end


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(places)]


cuts = st.lists(st.integers(0, 1 << 20), max_size=12)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=80, deadline=None)
@given(words, cuts, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_any_split_of_any_text_gives_the_same_exact_usage(
    dialect: Dialect, texts: list[str], cuts: list[int], ending: bytes, is_ascii: bool
):
    body = stream(dialect, texts, is_ascii=is_ascii).replace(b"\n", ending)
    whole = measure(dialect, [body])
    assert whole.source is UsageSource.EXACT
    assert whole.is_complete
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (20, 7)
    assert whole.error_type is None
    assert measure(dialect, split(body, cuts)) == whole
    assert measure(dialect, [body[at : at + 1] for at in range(len(body))]) == whole


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=80, deadline=None)
@given(words, st.integers(0, 1 << 20), cuts)
def test_a_cut_before_the_usage_is_never_exact_and_never_nothing(
    dialect: Dialect, texts: list[str], cut: int, cuts: list[int]
):
    body = stream(dialect, texts)
    needle = b'{"prompt_tokens"' if dialect is OPENAI else b'{"type":"message_delta"'
    body = body[: cut % (body.rindex(needle) + 1)]
    whole = measure(dialect, [body])
    assert whole.source is UsageSource.ESTIMATED
    assert not whole.is_complete
    assert whole.usage.input_tokens >= 1
    assert whole.usage.output_tokens >= 1
    assert measure(dialect, split(body, cuts)) == whole


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=150))
def test_an_estimate_is_never_below_the_events_that_were_seen(dialect: Dialect, texts: list[str]):
    body = stream(dialect, ["word" + text[:1] for text in texts])
    needle = (
        b'data: {"id":"c","choices":[],' if dialect is OPENAI else b'data: {"type":"message_delta"'
    )
    found = measure(dialect, [body[: body.rindex(needle)]])
    # Of long streams some events are looked at, and their lengths differ a little.
    assert found.usage.output_tokens >= len(texts) * 0.9


fragments = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"data: ",
            b"\n\n",
            b"\r\n",
            b"\r",
            b"\n",
            b"event: error\n",
            b'{"type":"message_start","message":{"usage":{"output_tokens":3}}}',
            b'{"type":"message_delta","usage":{"output_tokens":[1]},"delta":3}',
            b'{"choices":[{"usage":{"prompt_tokens":-1}}]}',
            b'{"choices":3,"usage":{"prompt_tokens":null,"completion_tokens":{}}}',
            b'{"error":{"type":{}},"usage":{"prompt_tokens":1e400}}',
            b'{"usage":{"prompt_tokens":1,"prompt_tokens_details":[],"completion_tokens":1e3}}',
            b'{"type":"message_delta","usage":{"output_tokens":1,"iterations":[1,{},null]}}',
            b"[DONE]\n\n",
            b"\xef\xbb\xbf",
        ]
    ),
)


@pytest.mark.parametrize(
    "dialect",
    [
        *DIALECTS,
        Dialect.OPENAI_COMPLETIONS,
        Dialect.OPENAI_EMBEDDINGS,
        Dialect.OPENAI_TRANSCRIPTIONS,
    ],
)
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
@settings(max_examples=60, deadline=None)
@given(parts=st.lists(fragments, max_size=20), cuts=cuts)
def test_garbage_is_measured_without_an_error_whatever_its_split(
    dialect: Dialect, kind: str, parts: list[bytes], cuts: list[int]
):
    body = b"".join(parts)

    def read(pieces: list[bytes]) -> Measurement:
        meter = meter_for(
            dialect=dialect,
            provider="openrouter",
            facts=FACTS,
            content_type=kind,
            content_encoding=None,
        )
        for piece in pieces:
            meter.feed(piece)
        return meter.finish()

    whole = read([body])
    assert whole.usage.input_tokens >= 1
    assert read(split(body, cuts)) == whole
