"""Which meter a response gets, and bodies that are whole, broken, packed or too large."""

import gzip
import json
import time
import zlib

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.meter.body import BODY_BYTES_MAX
from gateway.meter.meter import Meter, meter_for

WHOLE = RequestFacts(model="m", is_streaming=False, body_bytes=400)
STREAM = RequestFacts(model="m", is_streaming=True, body_bytes=400)
BODY = json.dumps(
    {
        "id": "c",
        "model": "m",
        "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 7},
    }
).encode()
EVENTS = (
    b'data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":7}}\n\ndata: [DONE]\n\n'
)


def meter(
    facts: RequestFacts = WHOLE, kind: str = "application/json", encoding: str | None = None
) -> Meter:
    return meter_for(
        dialect=Dialect.OPENAI_CHAT,
        provider="openai",
        facts=facts,
        content_type=kind,
        content_encoding=encoding,
    )


def measured(reading: Meter, body: bytes, piece_bytes: int = 7) -> Measurement:
    for at in range(0, len(body), piece_bytes):
        reading.feed(body[at : at + piece_bytes])
    return reading.finish()


@pytest.mark.parametrize(
    ("body", "facts", "kind"),
    [
        (BODY, WHOLE, "application/json"),
        (BODY, STREAM, "application/json; charset=utf-8"),
        (BODY, WHOLE, ""),
        (EVENTS, STREAM, "text/event-stream"),
        (EVENTS, WHOLE, "Text/Event-Stream;charset=UTF-8"),
        (EVENTS, STREAM, ""),
        (EVENTS, WHOLE, "application/json"),
    ],
)
def test_the_meter_fits_what_comes(body: bytes, facts: RequestFacts, kind: str):
    found = measured(meter(facts, kind), body)
    assert found.source is UsageSource.EXACT
    assert found.is_complete
    assert found.usage.output_tokens == 7


def test_a_document_is_complete_when_its_end_is_known():
    reading = meter()
    reading.feed(BODY)
    assert reading.has_first_token
    assert not reading.is_complete
    reading.finish()
    assert reading.is_complete


@pytest.mark.parametrize("cut", [1, 20, len(BODY) - 1])
def test_half_a_document_is_an_estimate(cut: int):
    found = measured(meter(), BODY[:cut])
    assert found.source is UsageSource.ESTIMATED
    assert not found.is_complete
    assert (found.usage.input_uncached_tokens, found.usage.output_tokens) == (100, -(-cut // 4))


def test_a_document_that_never_came_may_have_been_written_whole():
    assert meter().finish().usage.output_tokens == 1_024
    bounded = RequestFacts(model="m", is_streaming=False, body_bytes=4, max_output_tokens=50)
    assert meter(bounded).finish().usage.output_tokens == 50


def test_a_whole_document_without_a_word_and_without_counts_is_a_token():
    silent = json.dumps({"id": "c", "model": "m", "choices": [{"message": {"content": ""}}]})
    found = measured(meter(), silent.encode())
    assert (found.source, found.usage.output_tokens) == (UsageSource.ESTIMATED, 1)


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"usage"', b"\xff\xfe", b"{}"])
def test_a_document_that_is_no_answer_is_an_estimate(body: bytes):
    found = measured(meter(), body)
    assert found.source is UsageSource.ESTIMATED
    assert found.usage.output_tokens >= 1


def test_a_document_beyond_the_bound_is_not_kept():
    reading = meter()
    piece = b"x" * (1 << 20)
    for _ in range(BODY_BYTES_MAX // len(piece) + 1):
        reading.feed(piece)
    assert reading._pieces == []
    assert reading.finish().source is UsageSource.ESTIMATED


@pytest.mark.parametrize(
    ("pack", "encoding"),
    [(gzip.compress, "gzip"), (gzip.compress, "X-GZip"), (zlib.compress, "deflate")],
)
@pytest.mark.parametrize("piece_bytes", [1, 50, 10_000])
def test_a_packed_answer_is_opened(pack, encoding: str, piece_bytes: int):
    found = measured(meter(encoding=encoding), pack(BODY), piece_bytes)
    assert (found.source, found.usage.output_tokens) == (UsageSource.EXACT, 7)
    stream = measured(meter(STREAM, "text/event-stream", encoding), pack(EVENTS), piece_bytes)
    assert (stream.source, stream.usage.output_tokens) == (UsageSource.EXACT, 7)


@pytest.mark.parametrize("piece_bytes", [1, 50, 10_000])
@pytest.mark.parametrize("size", [1, 20, 70])
def test_all_members_of_a_packed_answer_are_opened(piece_bytes: int, size: int):
    """RFC 1952: a gzip file is a series of members; some servers make one of every flush."""
    whole, events = (
        b"".join(gzip.compress(text[at : at + size]) for at in range(0, len(text), size))
        for text in (BODY, EVENTS)
    )
    found = measured(meter(encoding="gzip"), whole, piece_bytes)
    assert (found.source, found.usage.output_tokens) == (UsageSource.EXACT, 7)
    stream = measured(meter(STREAM, "text/event-stream", "gzip"), events, piece_bytes)
    assert (stream.source, stream.usage.output_tokens) == (UsageSource.EXACT, 7)


@pytest.mark.parametrize("piece_bytes", [1, 10_000])
def test_what_follows_a_member_and_is_none_is_an_estimate(piece_bytes: int):
    event = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'
    body = gzip.compress(event) + b"no member" * 100
    found = measured(meter(STREAM, "text/event-stream", "gzip"), body, piece_bytes)
    assert found.source is UsageSource.ESTIMATED
    assert found.usage.output_tokens == len(body)


def test_members_of_nothing_cost_little():
    empty = gzip.compress(b"") * 20_000
    reading = meter(encoding="gzip")
    started = time.perf_counter()
    reading.feed(empty)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "encoding", ["identity, gzip", "gzip,identity", ", GZIP", "identity,,gzip"]
)
def test_all_that_an_answer_says_of_its_encoding_counts(encoding: str):
    found = measured(meter(encoding=encoding), gzip.compress(BODY))
    assert (found.source, found.usage.output_tokens) == (UsageSource.EXACT, 7)
    assert measured(meter(encoding="identity, identity"), BODY).source is UsageSource.EXACT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip, gzip", "gzip"])
def test_an_answer_that_cannot_be_opened_is_an_estimate(encoding: str):
    found = measured(meter(STREAM, "text/event-stream", encoding), b"not packed at all" * 10)
    assert found.source is UsageSource.ESTIMATED
    assert found.usage.output_tokens == 170


def test_a_packed_bomb_is_not_opened_to_its_end():
    bomb = gzip.compress(b"x" * (BODY_BYTES_MAX * 3), 9)
    reading = meter(encoding="gzip")
    for at in range(0, len(bomb), 65_536):
        reading.feed(bomb[at : at + 65_536])
    assert reading._opened <= BODY_BYTES_MAX + 65_536
    assert reading.finish().source is UsageSource.ESTIMATED
