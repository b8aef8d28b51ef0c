"""The relay on the wire, over the fast and the plain way to the provider: what a client sees."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from gateway.app import Timeouts
from tests.fakes.provider import Answer, playing
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, OPENAI_STREAM, OPENAI_TEXT
from tests.fixtures.gateway import GatewayUnderTest, Team, chat_body, messages_body

pytestmark = pytest.mark.alone

STREAM = ANTHROPIC_STREAM.body
SSE = (("content-type", "text/event-stream"),)
STALL_S = 1.5


@pytest.fixture(scope="module", params=["fast", "plain"])
def shared_gateway(request, make_gateway) -> GatewayUnderTest:
    return make_gateway(
        timeouts=Timeouts(shutdown_s=10, gone_client_s=2, stalled_client_s=STALL_S),
        uses_plain_relay=request.param == "plain",
        GATEWAY_DEEPSEEK_API_KEY="sk-deepseek",
        GATEWAY_DEEPSEEK_BASE_URL="http://127.0.0.1:9",
    )


def post(team: Team, body: bytes, *, version: str = "1.1", target: str = "/v1/messages") -> bytes:
    return (
        f"POST {target} HTTP/{version}\r\nHost: gateway.test\r\nx-api-key: {team.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@contextlib.asynccontextmanager
async def open_socket(
    gateway: GatewayUnderTest, *, receive_bytes: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    client = socket.socket()
    if receive_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.setblocking(False)
    port = urlsplit(gateway.url).port
    assert port is not None
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def heard(gateway: GatewayUnderTest, request: bytes) -> tuple[bytes, bytes, bool]:
    """Head and body as they came until the connection ended, and whether it ended cleanly."""
    async with open_socket(gateway) as (reader, writer), asyncio.timeout(10):
        writer.write(request.replace(b"Host:", b"Connection: close\r\nHost:"))
        said, is_clean = b"", True
        try:
            while piece := await reader.read(65536):
                said += piece
        except ConnectionError:
            is_clean = False
    head, _, body = said.partition(b"\r\n\r\n")
    return head, body, is_clean


async def test_an_http_1_0_client_gets_the_body_without_framing(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM))
    request = post(team, messages_body(stream=True), version="1.0")
    head, body, is_clean = await heard(gateway, request)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in head.lower()
    assert b"Connection: close" in head
    assert (body, is_clean) == (STREAM, True)


async def test_an_http_1_0_client_of_a_document_gets_its_length(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    head, body, is_clean = await heard(gateway, post(team, messages_body(), version="1.0"))
    assert b"Content-Length: %d" % len(ANTHROPIC_TEXT.body) in head
    assert (body, is_clean) == (ANTHROPIC_TEXT.body, True)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_that_breaks_off_never_looks_whole(gateway, team, provider, version):
    cuts = range(1, len(STREAM), 97)
    for cut in cuts:
        provider.will(playing(ANTHROPIC_STREAM, cut_after_bytes=cut, wire_bytes=100_000))
        request = post(team, messages_body(stream=True), version=version)
        head, body, is_clean = await heard(gateway, request)
        if head.startswith(b"HTTP/1.1 502"):
            continue
        assert head.startswith(b"HTTP/1.1 200"), cut
        # Without framing only a reset says it; with it, the missing last chunk does.
        assert not is_clean if version == "1.0" else not body.endswith(b"0\r\n\r\n"), cut


@pytest.mark.parametrize("cut", range(0, len(ANTHROPIC_TEXT.body), 40))
async def test_a_document_that_breaks_off_is_shorter_than_it_says(gateway, team, provider, cut):
    provider.will(playing(ANTHROPIC_TEXT, cut_after_bytes=cut, wire_bytes=100_000))
    head, body, _ = await heard(gateway, post(team, messages_body()))
    if head.startswith(b"HTTP/1.1 200"):
        assert b"Content-Length: %d" % len(ANTHROPIC_TEXT.body) in head
        assert len(body) < len(ANTHROPIC_TEXT.body)
    else:
        assert head.startswith(b"HTTP/1.1 502")


async def test_a_body_until_close_is_chunked_for_the_client(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM, framing="close"))
    answer = await gateway.post("/v1/messages", messages_body(stream=True), team)
    assert answer.is_whole
    assert answer.body == STREAM
    assert answer.header("transfer-encoding") == "chunked"


async def test_a_body_until_close_without_its_last_event_is_broken(gateway, team, provider):
    events = ANTHROPIC_STREAM.events[:-1]
    provider.will(playing(ANTHROPIC_STREAM, framing="close", pieces=tuple(events)))
    answer = await gateway.post("/v1/messages", messages_body(stream=True), team)
    assert not answer.is_whole
    assert STREAM.startswith(answer.body)


async def test_informational_heads_and_trailers_stay_here(gateway, team, provider):
    chunk = b"%x\r\n%b\r\n" % (len(STREAM), STREAM)
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    provider.will(Answer(framing="bare", pieces=(raw + chunk + b"0\r\nSet-Cookie: a=b\r\n\r\n",)))
    async with open_socket(gateway) as (reader, writer), asyncio.timeout(5):
        writer.write(post(team, messages_body(stream=True)))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert STREAM.replace(b"\r\n", b"") in body.replace(b"\r\n", b"")
    assert b"Set-Cookie" not in head + body


async def test_two_requests_in_one_write_are_answered_in_order(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT), playing(ANTHROPIC_STREAM))
    async with open_socket(gateway) as (reader, writer), asyncio.timeout(5):
        writer.write(post(team, messages_body()) + post(team, messages_body(stream=True)))
        first = await reader.readuntil(b"\r\n\r\n")
        assert b"application/json" in first
        assert await reader.readexactly(len(ANTHROPIC_TEXT.body)) == ANTHROPIC_TEXT.body
        second = await reader.readuntil(b"\r\n\r\n")
        assert b"text/event-stream" in second
        assert b"message_stop" in await reader.readuntil(b"\r\n0\r\n\r\n")


async def test_a_client_that_wants_its_connection_closed_gets_that(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    head, body, is_clean = await heard(gateway, post(team, messages_body()))
    assert b"Connection: close" in head
    assert (body, is_clean) == (ANTHROPIC_TEXT.body, True)


async def test_every_answer_has_a_date_and_no_maker(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    answer = await gateway.post("/v1/messages", messages_body(), team)
    date = answer.header("date")
    assert date is not None
    assert date.endswith("GMT")
    assert answer.header("server") is None


async def test_the_usage_chunk_is_held_back_for_an_http_1_0_client_too(gateway, team, provider):
    provider.will(playing(OPENAI_STREAM))
    request = post(team, chat_body(stream=True), version="1.0", target="/v1/chat/completions")
    _, body, is_clean = await heard(gateway, request)
    assert is_clean
    assert b'"usage":{' not in body
    assert body.endswith(b"data: [DONE]\n\n")


def endless(megabytes: int) -> Answer:
    """A stream of pings that is far larger than any buffer on its way."""
    ping = b'event: ping\ndata: {"type": "ping", "pad": "' + b"x" * 32_000 + b'"}\n\n'
    pieces = (
        *ANTHROPIC_STREAM.events[:-1],
        *[ping] * (megabytes * 31),
        ANTHROPIC_STREAM.events[-1],
    )
    return playing(ANTHROPIC_STREAM, pieces=pieces, interval_s=1e-9)


async def test_a_slow_reader_holds_the_provider_up_and_hears_all(gateway, team, provider):
    answer = endless(24)
    provider.will(answer)
    async with open_socket(gateway, receive_bytes=32_768) as (reader, writer):
        async with asyncio.timeout(20):
            writer.write(post(team, messages_body(stream=True)))
            await reader.readuntil(b"\r\n\r\n")
            # Not as long as the gateway lets a reader stall.
            await asyncio.sleep(STALL_S / 2)
            [received] = provider.requests
            held_bytes = received.sent_bytes
            assert held_bytes < 6 << 20
            said = 0
            while piece := await reader.read(1 << 20):
                said += len(piece)
                if piece.endswith(b"\r\n0\r\n\r\n"):
                    break
        assert said > len(answer.body)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "exact"
    assert entry["client_aborted"] is False


async def test_a_reader_that_stalls_is_cut_and_billed(gateway, team, provider):
    provider.will(endless(16))
    async with open_socket(gateway, receive_bytes=32_768) as (reader, writer):
        writer.write(post(team, messages_body(stream=True)))
        await reader.readuntil(b"\r\n\r\n")
        entry = await gateway.entry(team)
        assert entry["client_aborted"] is True
        assert entry["amount_usd"] > 0
        said = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                while piece := await reader.read(1 << 20):
                    said = (said + piece)[-10:]
        assert not said.endswith(b"\r\n0\r\n\r\n")
    await provider.wait_until_left(provider.requests[0])


async def test_a_reader_that_took_all_again_may_wait_for_more(gateway, team, provider):
    answer = endless(4)
    *pieces, last = answer.pieces
    provider.will(replace(answer, pieces=(*pieces, last), hangs_after_pieces=len(pieces)))
    async with open_socket(gateway, receive_bytes=32_768) as (reader, writer):
        writer.write(post(team, messages_body(stream=True)))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(STALL_S / 3)
        left = sum(map(len, pieces))
        async with asyncio.timeout(10):
            while left > 0:
                piece = await reader.read(1 << 20)
                assert piece
                left -= len(piece)
        rest = asyncio.create_task(reader.read())
        await asyncio.wait({rest}, timeout=STALL_S + 0.5)
        assert not rest.done()
        rest.cancel()
    await gateway.entry(team)


async def test_a_reader_that_leaves_while_it_holds_the_provider_up_is_billed_exactly(
    gateway, team, provider
):
    answer = endless(7)
    # The counts come last.
    first, *rest = ANTHROPIC_STREAM.events
    pings = answer.pieces[len(rest) : -1]
    provider.will(replace(answer, pieces=(first, *pings, *rest)))
    async with open_socket(gateway, receive_bytes=32_768) as (reader, writer):
        writer.write(post(team, messages_body(stream=True)))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(STALL_S / 3)
        assert provider.requests[0].sent_bytes < 6 << 20
    entry = await gateway.entry(team)
    assert entry["client_aborted"] is True
    assert entry["usage_source"] == "exact"
    assert entry["amount_usd"] == ANTHROPIC_STREAM.amount_usd


async def test_a_provider_that_stops_billing_is_left_at_once(make_gateway, gateway, provider):
    """Silent as it is, it hears within a quarter of a second that nobody listens."""
    deepseek = make_gateway(
        GATEWAY_DEEPSEEK_API_KEY="sk-deepseek",
        GATEWAY_DEEPSEEK_BASE_URL=provider.openai_base_url,
    )
    team = await deepseek.make_team()
    provider.will(playing(OPENAI_STREAM, hangs_after_pieces=3))
    body = chat_body(stream=True, model="deepseek-chat")
    async with deepseek.connected() as connection:
        connection.send("POST", "/v1/chat/completions", team.headers, body)
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            break
        left_s = time.monotonic()
        connection.leave()
    assert await provider.wait_until_left(provider.requests[0]) - left_s < 0.4
    entry = await deepseek.entry(team)
    assert entry["client_aborted"] is True
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_a_document_of_such_a_provider_is_waited_for(make_gateway, gateway, provider):
    """It comes all at once, and its usage with it."""
    deepseek = make_gateway(
        GATEWAY_DEEPSEEK_API_KEY="sk-deepseek",
        GATEWAY_DEEPSEEK_BASE_URL=provider.openai_base_url,
    )
    team = await deepseek.make_team()
    provider.will(playing(OPENAI_TEXT, head_delay_s=0.6))
    async with deepseek.connected() as connection:
        body = chat_body(model="deepseek-chat")
        connection.send("POST", "/v1/chat/completions", team.headers, body)
        await provider.wait_for_requests(1)
        connection.leave()
    entry = await deepseek.entry(team)
    assert entry["client_aborted"] is True
    assert entry["usage_source"] == "exact"


async def test_a_silent_provider_whose_bill_is_known_is_left_at_once(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=len(ANTHROPIC_STREAM.events)))
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("POST", "/v1/messages", team.headers, messages_body(stream=True))
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            if answer.body == STREAM:
                break
        left_s = time.monotonic()
        connection.leave()
    assert await provider.wait_until_left(provider.requests[0]) - left_s < 0.25
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "exact"
