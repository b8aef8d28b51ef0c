"""Faults between the gateway and a provider: what the client sees, and what the ledger says."""

import socket
import time

import anthropic
import openai
import pytest

from gateway.app import Timeouts
from tests.fakes.provider import playing, saying
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, GPT, OPENAI_STREAM, SONNET
from tests.fixtures.gateway import chat_body, messages_body

pytestmark = pytest.mark.alone

IDLE_TIMEOUT_S = 0.6
HELLO = [{"role": "user", "content": "Grüezi"}]


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    return make_gateway(timeouts=Timeouts(upstream_idle_s=IDLE_TIMEOUT_S))


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


async def stream(gateway, team):
    return await gateway.post("/v1/messages", messages_body(stream=True), team)


async def test_a_provider_that_refuses_connections_is_a_bad_gateway(make_gateway):
    port = unused_port()
    gateway = make_gateway(
        GATEWAY_ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}",
        GATEWAY_OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1",
    )
    team = await gateway.make_team("5.00")
    answer = await stream(gateway, team)
    assert answer.status == 502
    assert answer.document["error"]["type"] == "api_error"
    assert answer.header("x-should-retry") == "true"
    assert answer.header("x-posthog-budget") == "ok"
    assert str(port) not in answer.document["error"]["message"]
    chat = await gateway.post("/v1/chat/completions", chat_body(), team)
    assert chat.status == 502
    assert chat.document["error"]["type"] == "server_error"
    # Nothing was sent: nothing is booked, and nothing stays held.
    assert await gateway.settled_count(team) == 0
    await gateway.wait_until_nothing_is_held(team)


async def test_silence_before_the_head_is_a_time_out(gateway, provider):
    team = await gateway.make_team("5.00")
    provider.will(playing(ANTHROPIC_TEXT, hangs_before_head=True))
    started_s = time.monotonic()
    answer = await stream(gateway, team)
    assert IDLE_TIMEOUT_S <= time.monotonic() - started_s < IDLE_TIMEOUT_S + 2
    assert answer.status == 504
    assert answer.document["error"]["type"] == "timeout_error"
    # The request was sent and may be billed: never free on our books.
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0
    assert entry["http_status"] == 504
    await gateway.wait_until_nothing_is_held(team)
    await provider.wait_until_left(provider.requests[0])


async def test_a_connection_cut_before_the_head_is_a_bad_gateway(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT, cuts_before_head=True))
    answer = await stream(gateway, team)
    assert answer.status == 502
    assert answer.document["error"]["type"] == "api_error"
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0
    # Never sent a second time by us: the provider may have begun to generate.
    assert len(provider.requests) == 1


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
async def test_a_stream_that_is_cut_breaks_for_the_client_and_is_estimated(
    gateway, provider, framing, share
):
    team = await gateway.make_team("5.00")
    cut = int(len(ANTHROPIC_STREAM.body) * share)
    provider.will(playing(ANTHROPIC_STREAM, framing=framing, cut_after_bytes=cut))
    answer = await stream(gateway, team)
    assert answer.status == 200
    assert not answer.is_whole
    assert answer.body == ANTHROPIC_STREAM.body[:cut]
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    # What message_start said it read is known, and not less than that is charged.
    assert entry["input_uncached_tokens"] == 120
    assert entry["amount_usd"] >= entry["input_amount_usd"] > 0
    assert entry["client_aborted"] is False
    properties = (await gateway.event(entry["entry_id"]))["properties"]
    assert properties["$ai_is_error"] is True
    assert properties["usage_source"] == "estimated"
    await gateway.wait_until_nothing_is_held(team)


async def test_a_cut_after_the_usage_is_exact_all_the_same(gateway, team, provider):
    events = ANTHROPIC_STREAM.events
    cut = len(b"".join(events[:-1]))
    provider.will(playing(ANTHROPIC_STREAM, cut_after_bytes=cut))
    answer = await stream(gateway, team)
    assert not answer.is_whole
    assert (await gateway.entry(team))["amount_usd"] == ANTHROPIC_STREAM.amount_usd


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_document_that_is_cut_breaks_for_the_client(gateway, team, provider, is_whole):
    size = len(ANTHROPIC_TEXT.body)
    provider.will(playing(ANTHROPIC_TEXT, cut_after_bytes=None if is_whole else size // 2))
    answer = await gateway.post("/v1/messages", messages_body(), team)
    assert answer.is_whole is is_whole
    entry = await gateway.entry(team)
    assert entry["usage_source"] == ("exact" if is_whole else "estimated")
    assert entry["amount_usd"] > 0


async def test_a_chat_that_is_cut_is_estimated_from_what_was_seen(gateway, team, provider):
    cut = len(b"".join(OPENAI_STREAM.events[:6]))
    provider.will(playing(OPENAI_STREAM, cut_after_bytes=cut))
    answer = await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    assert not answer.is_whole
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["output_tokens"] > 0
    assert entry["input_uncached_tokens"] > 0


async def test_silence_in_the_middle_of_a_stream_breaks_it(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=5))
    started_s = time.monotonic()
    answer = await stream(gateway, team)
    assert IDLE_TIMEOUT_S * 0.9 <= time.monotonic() - started_s < IDLE_TIMEOUT_S + 2
    assert not answer.is_whole
    assert answer.body == b"".join(ANTHROPIC_STREAM.events[:5])
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_a_slow_stream_is_no_silent_one(gateway, team, provider):
    """Each byte starts the wait anew: a stream may last longer than the time-out."""
    provider.will(playing(ANTHROPIC_STREAM, interval_s=IDLE_TIMEOUT_S / 5))
    answer = await stream(gateway, team)
    assert answer.is_whole
    assert answer.pieces[-1][0] > IDLE_TIMEOUT_S
    assert answer.body == ANTHROPIC_STREAM.body


async def test_the_sdks_see_a_broken_stream_as_a_failure(gateway, team, provider):
    body = ANTHROPIC_STREAM.body
    provider.will(playing(ANTHROPIC_STREAM, cut_after_bytes=len(body) // 2))
    async with gateway.anthropic(team) as client:
        events = await client.messages.create(
            model=SONNET, max_tokens=64, messages=HELLO, stream=True
        )
        with pytest.raises(Exception, match=r"(?i)peer|incomplete|connection|protocol"):
            async for _ in events:
                pass
    provider.will(playing(OPENAI_STREAM, cut_after_bytes=len(OPENAI_STREAM.body) // 2))
    async with gateway.openai(team) as client:
        chunks = await client.chat.completions.create(model=GPT, messages=HELLO, stream=True)
        with pytest.raises(Exception, match=r"(?i)peer|incomplete|connection|protocol"):
            async for _ in chunks:
                pass


async def test_the_sdks_name_a_time_out_and_an_unreachable_provider(gateway, team, provider):
    provider.will(*[playing(ANTHROPIC_TEXT, cuts_before_head=True)] * 2)
    async with gateway.anthropic(team, max_retries=0) as client:
        with pytest.raises(anthropic.InternalServerError) as caught:
            await client.messages.create(model=SONNET, max_tokens=64, messages=HELLO)
    assert caught.value.status_code == 502
    async with gateway.openai(team, max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as also_caught:
            await client.chat.completions.create(model=GPT, messages=HELLO)
    assert also_caught.value.status_code == 502
    assert also_caught.value.type == "server_error"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: banana\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nnot a chunk\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
    ],
    ids=["length", "another protocol", "chunk size", "binary"],
)
async def test_what_is_not_http_never_looks_like_an_answer(gateway, team, provider, wire):
    provider.will(playing(ANTHROPIC_TEXT, pieces=(wire,), framing="bare"))
    answer = await stream(gateway, team)
    if answer.status == 200:
        assert not answer.is_whole
    else:
        assert answer.status == 502
        assert answer.document["error"]["type"] == "api_error"
    entry = await gateway.entry(team)
    assert entry["amount_usd"] > 0


async def test_bytes_after_the_answer_are_never_the_next_callers(gateway, team, provider):
    """A pooled connection on which unasked bytes arrived is not used again."""
    stray = b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"stray": true}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    body = ANTHROPIC_TEXT.body
    wire = head % len(body) + body + stray
    provider.will(playing(ANTHROPIC_TEXT, pieces=(wire,), framing="bare", keeps_open=True))
    first = await gateway.post("/v1/messages", messages_body(), team)
    assert first.body == body
    second = await gateway.post("/v1/messages", messages_body(), team)
    assert second.body == body
    assert b"stray" not in second.body


async def test_garbage_inside_a_stream_is_relayed_and_estimated(gateway, team, provider):
    garbage = b"event: message_start\ndata: {not json\n\n\xff\xfe\x00data: \n\ndata: [[[[\n\n"
    provider.will(playing(ANTHROPIC_STREAM, pieces=(garbage, garbage[::-1])))
    answer = await stream(gateway, team)
    assert answer.is_whole
    assert answer.body == garbage + garbage[::-1]
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_an_empty_answer_is_relayed_and_estimated(gateway, team, provider):
    provider.will(saying(b""))
    answer = await gateway.post("/v1/messages", messages_body(), team)
    assert (answer.status, answer.body, answer.is_whole) == (200, b"", True)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0
