"""The relay: every byte the provider's, each piece when it comes, whatever the pieces are."""

import asyncio
import gzip

import pytest

from tests.fakes.provider import playing
from tests.fakes.transcripts import (
    ANTHROPIC_STREAM,
    ANTHROPIC_THINKING_TOOLS_STREAM,
    ANTHROPIC_TOOLS,
    OPENAI_STREAM,
    OPENAI_TOOLS,
    OPENAI_TOOLS_STREAM,
    TRANSCRIPTS,
    without_usage_chunk,
)
from tests.fixtures.gateway import chat_body, messages_body

INTERVAL_S = 0.05
TRIES = 3
WITH_USAGE = ', "stream_options": {"include_usage": true}'


def route_and_body(transcript):
    if transcript.name.startswith("anthropic"):
        return "/v1/messages", messages_body(stream=transcript.is_stream)
    extra = WITH_USAGE if transcript.is_stream else ""
    return "/v1/chat/completions", chat_body(extra, stream=transcript.is_stream)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("piece_bytes", [1, 7, 256, 1 << 20])
async def test_the_body_is_byte_for_byte_the_providers(
    gateway, team, provider, transcript, framing, piece_bytes
):
    provider.will(playing(transcript, framing=framing).in_pieces_of(piece_bytes))
    target, body = route_and_body(transcript)
    answer = await gateway.post(target, body, team)
    assert answer.status == 200
    assert answer.is_whole
    assert answer.body == transcript.body
    assert answer.header("content-type") == transcript.content_type
    assert answer.header("request-id") == f"req_{transcript.response_id}"
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == transcript.amount_usd
    assert entry["usage_source"] == "exact"
    assert entry["provider_response_id"] == transcript.response_id


@pytest.mark.parametrize("wire_bytes", [1, 2, 3, 11, 97])
@pytest.mark.parametrize(
    "transcript",
    [ANTHROPIC_THINKING_TOOLS_STREAM, OPENAI_TOOLS_STREAM],
    ids=lambda transcript: transcript.name,
)
async def test_writes_that_split_the_framing_itself_change_nothing(
    gateway, team, provider, transcript, wire_bytes
):
    provider.will(playing(transcript, wire_bytes=wire_bytes))
    target, body = route_and_body(transcript)
    answer = await gateway.post(target, body, team)
    assert answer.is_whole
    assert answer.body == transcript.body
    assert (await gateway.entry(team))["amount_usd"] == transcript.amount_usd


@pytest.mark.parametrize("piece_bytes", [1, 13, 200, 1 << 20])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_exactly_the_chunk_that_the_client_did_not_ask_for_is_held_back(
    gateway, team, provider, piece_bytes, framing
):
    provider.will(playing(OPENAI_STREAM, framing=framing).in_pieces_of(piece_bytes))
    answer = await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    assert answer.is_whole
    assert answer.body == without_usage_chunk(OPENAI_STREAM.body)
    assert (await gateway.entry(team))["amount_usd"] == OPENAI_STREAM.amount_usd


@pytest.mark.parametrize(
    ("transcript", "target", "body"),
    [
        (ANTHROPIC_STREAM, "/v1/messages", messages_body(stream=True)),
        (OPENAI_STREAM, "/v1/chat/completions", chat_body(WITH_USAGE, stream=True)),
        (OPENAI_STREAM, "/v1/chat/completions", chat_body(stream=True)),
    ],
    ids=["anthropic", "openai", "openai, usage held back"],
)
async def test_each_event_is_heard_when_the_provider_sends_it(
    gateway, team, provider, transcript, target, body
):
    """A machine that is busy with other tests may be late, a relay that holds back always is."""
    for attempt in range(1, TRIES + 1):
        provider.will(playing(transcript, interval_s=INTERVAL_S))
        answer = await gateway.post(target, body, team)
        await gateway.entries(team, attempt)
        if is_on_time(answer, transcript):
            return
    raise AssertionError([at_s for at_s, _ in answer.pieces])


def is_on_time(answer, transcript):
    start_s = answer.pieces[0][0]
    is_whole = answer.body == transcript.body
    events = transcript.events if is_whole else [*transcript.events[:-2], transcript.events[-1]]
    return all(
        # Where the chunk before the last is held back, the last one is one interval later.
        at_s - start_s
        == pytest.approx(
            (number + (not is_whole and number == len(events) - 1)) * INTERVAL_S,
            abs=INTERVAL_S * 0.6,
        )
        for number, at_s in enumerate(arrivals(answer, events))
    )


def arrivals(answer, events):
    """When each event was whole, by the bytes that had come."""
    times, end, heard = [], 0, 0
    pieces = iter(answer.pieces)
    at_s = 0.0
    for event in events:
        end += len(event)
        while heard < end:
            at_s, piece = next(pieces)
            heard += len(piece)
        times.append(at_s)
    return times


async def test_half_an_event_is_heard_before_its_other_half(gateway, team, provider):
    """Forwarding waits for nothing: not for a line, not for an event."""
    body = ANTHROPIC_STREAM.body
    provider.will(
        playing(ANTHROPIC_STREAM, pieces=(body[:37], body[37:61], body[61:]), interval_s=0.2)
    )
    answer = await gateway.post("/v1/messages", messages_body(stream=True), team)
    assert answer.body == body
    heard = [(b"".join(p for t, p in answer.pieces if t < limit)) for limit in (0.15, 0.35)]
    assert heard == [body[:37], body[:61]]


async def test_the_head_is_heard_before_the_first_byte_of_the_body(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=0))
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("POST", "/v1/messages", team.headers, messages_body(stream=True))
        answer = await connection.head()
    assert answer.status == 200
    assert answer.header("content-type") == ANTHROPIC_STREAM.content_type


@pytest.mark.parametrize("transcript", [ANTHROPIC_TOOLS, OPENAI_TOOLS], ids=lambda t: t.name)
async def test_a_document_the_provider_compresses_all_the_same_stays_compressed(
    gateway, team, provider, transcript
):
    answer = playing(transcript).gzipped()
    provider.will(answer)
    target, body = route_and_body(transcript)
    heard = await gateway.post(target, body, team)
    assert heard.header("content-encoding") == "gzip"
    assert heard.body == answer.body
    assert gzip.decompress(heard.body) == transcript.body
    entry = await gateway.entry(team)
    assert entry["amount_usd"] > 0
    assert provider.requests[0].header("accept-encoding") == "identity"


async def test_the_request_body_goes_up_byte_for_byte(gateway, team, provider):
    body = (
        b'{ "messages":[{"content":"\\u00fc \xc3\xbc  ","role":"user"}],\r\n\t"max_tokens" : 64,'
        b'"unknown":{"deep":[1e2,-0.0,null]}, "model":"claude-sonnet-4-6" }\n'
    )
    answer = await gateway.post("/v1/messages", body, team)
    assert answer.status == 200
    assert provider.requests[0].body == body
    assert provider.requests[0].header("content-type") == "application/json"


async def test_a_chunked_request_body_goes_up_byte_for_byte(gateway, team, provider):
    body = messages_body()
    headers = [*team.headers, ("transfer-encoding", "chunked")]
    framed = b"".join(b"1\r\n%b\r\n" % body[at : at + 1] for at in range(len(body)))
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("POST", "/v1/messages", headers, framed + b"0\r\n\r\n")
        answer = await connection.rest(await connection.head())
    assert answer.status == 200
    assert provider.requests[0].body == body


async def test_rate_limit_retry_and_request_id_headers_come_along(gateway, team, provider):
    told = [
        ("anthropic-ratelimit-tokens-remaining", "41000"),
        ("x-ratelimit-remaining-requests", "99"),
        ("retry-after", "7"),
        ("openai-processing-ms", "12"),
    ]
    provider.will(playing(ANTHROPIC_TOOLS).with_headers(*told))
    answer = await gateway.post("/v1/messages", messages_body(), team)
    assert [(name, answer.header(name)) for name, _ in told] == told


async def test_a_connection_serves_one_request_after_another(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM), playing(ANTHROPIC_TOOLS), playing(ANTHROPIC_STREAM))
    async with gateway.connected() as connection, asyncio.timeout(10):
        for transcript in (ANTHROPIC_STREAM, ANTHROPIC_TOOLS, ANTHROPIC_STREAM):
            body = messages_body(stream=transcript.is_stream)
            connection.send("POST", "/v1/messages", team.headers, body)
            answer = await connection.rest(await connection.head())
            assert answer.body == transcript.body
    await gateway.entries(team, 3)


async def test_streams_at_once_do_not_mix(gateway, team, provider):
    body = ANTHROPIC_STREAM.body
    bodies = [body.replace(b"msg_text_stream", b"msg_%04d" % number) for number in range(40)]
    for marked in bodies:
        answer = playing(ANTHROPIC_STREAM, pieces=(marked,), interval_s=0.001)
        provider.will(answer.in_pieces_of(97))
    answers = await asyncio.gather(
        *(gateway.post("/v1/messages", messages_body(stream=True), team) for _ in bodies)
    )
    assert sorted(answer.body for answer in answers) == sorted(bodies)
    entries = await gateway.entries(team, 40)
    assert len({entry["provider_response_id"] for entry in entries}) == 40


async def test_a_large_answer_passes_whole_to_a_slow_reader(gateway, team, provider):
    """Back-pressure, not loss: the client reads in small bites with pauses."""
    text = b"x" * 65536
    delta = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % text
    )
    events = ANTHROPIC_STREAM.events
    pieces = (*events[:3], *([delta] * 64), *events[3:])
    provider.will(playing(ANTHROPIC_STREAM, pieces=pieces))
    async with gateway.connected() as connection, asyncio.timeout(30):
        connection.send("POST", "/v1/messages", team.headers, messages_body(stream=True))
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            if len(answer.pieces) % 16 == 0:
                await asyncio.sleep(0.02)
    assert answer.is_whole
    assert answer.body == b"".join(pieces)
    assert (await gateway.entry(team))["amount_usd"] == ANTHROPIC_STREAM.amount_usd
