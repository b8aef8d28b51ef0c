"""Clients that leave: the provider is heard out for the bill within bounds, and the books say so."""

import asyncio
import contextlib
import socket
import time

import pytest

from gateway.app import Timeouts
from tests.fakes.provider import playing
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, OPENAI_STREAM
from tests.fixtures.gateway import chat_body, messages_body

pytestmark = pytest.mark.alone

GONE_CLIENT_S = 1.0
# The upstream learns within 250 ms; the rest is for a machine that is busy with other tests.
LEFT_WITHIN_S = 0.5


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    return make_gateway(timeouts=Timeouts(gone_client_s=GONE_CLIENT_S))


async def leave_after(gateway, team, target, body, events):
    """Hear so many events of the answer, then reset the connection."""
    async with gateway.connected() as connection, asyncio.timeout(10):
        connection.send("POST", target, team.headers, body)
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            if answer.body.count(b"\n\n") >= events:
                break
        connection.leave()
    return answer


@pytest.mark.parametrize(
    ("transcript", "target", "body"),
    [
        (ANTHROPIC_STREAM, "/v1/messages", messages_body(stream=True)),
        (OPENAI_STREAM, "/v1/chat/completions", chat_body(stream=True)),
    ],
    ids=["anthropic", "openai"],
)
async def test_a_stream_that_its_client_left_is_heard_out_for_the_bill(
    gateway, provider, transcript, target, body
):
    team = await gateway.make_team("5.00")
    provider.will(playing(transcript, interval_s=0.03))
    answer = await leave_after(gateway, team, target, body, events=3)
    entry = await gateway.entry(team)
    assert str(entry["entry_id"]) == answer.header("x-gateway-request-id")
    assert entry["client_aborted"] is True
    assert entry["usage_source"] == "exact"
    assert entry["amount_usd"] == transcript.amount_usd
    assert entry["http_status"] == 200
    properties = (await gateway.event(entry["entry_id"]))["properties"]
    assert properties["client_aborted"] is True
    assert [line.amount_usd for line in provider.bill] == [entry["amount_usd"]]
    await gateway.wait_until_nothing_is_held(team)


async def test_a_document_that_its_client_did_not_wait_for_is_billed(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT, head_delay_s=0.4))
    async with gateway.connected() as connection:
        connection.send("POST", "/v1/messages", team.headers, messages_body())
        await provider.wait_for_requests(1)
        connection.leave()
    entry = await gateway.entry(team)
    assert entry["client_aborted"] is True
    assert entry["usage_source"] == "exact"
    assert entry["amount_usd"] == ANTHROPIC_TEXT.amount_usd


async def test_a_provider_that_hangs_is_not_heard_out_for_ever(gateway, provider):
    team = await gateway.make_team("5.00")
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=6))
    await leave_after(gateway, team, "/v1/messages", messages_body(stream=True), events=3)
    left_s = time.monotonic()
    entry = await gateway.entry(team)
    assert time.monotonic() - left_s < GONE_CLIENT_S + 2
    assert entry["client_aborted"] is True
    assert entry["usage_source"] == "estimated"
    assert entry["input_uncached_tokens"] == 120
    assert entry["output_tokens"] > 0
    assert await provider.wait_until_left(provider.requests[0]) - left_s < GONE_CLIENT_S + 1
    await gateway.wait_until_nothing_is_held(team)


async def test_a_client_that_leaves_before_the_head_is_estimated_where_the_provider_hangs(
    gateway, team, provider
):
    provider.will(playing(ANTHROPIC_STREAM, hangs_before_head=True))
    async with gateway.connected() as connection:
        connection.send("POST", "/v1/messages", team.headers, messages_body(stream=True))
        await provider.wait_for_requests(1)
        connection.leave()
    entry = await gateway.entry(team)
    assert entry["client_aborted"] is True
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_a_client_that_leaves_while_it_sends_is_nobodys_bill(gateway, team, provider):
    headers = [*team.headers, ("content-length", "100000")]
    async with gateway.connected() as connection:
        connection.send("POST", "/v1/messages", headers, b'{"model": "claude')
        await asyncio.sleep(0.1)
        connection.leave()
    assert await gateway.settled_count(team) == 0
    assert provider.requests == []
    await gateway.wait_until_nothing_is_held(team)


@contextlib.contextmanager
def never_accepting():
    """The address of a server whose queue of connections is full: the next one waits."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_a_client_that_leaves_while_its_provider_is_called_is_nobodys_bill(make_gateway):
    with never_accepting() as url:
        gateway = make_gateway(GATEWAY_ANTHROPIC_BASE_URL=url)
        team = await gateway.make_team("5.00")
        async with gateway.connected() as connection, asyncio.timeout(5):
            connection.send("POST", "/v1/messages", team.headers, messages_body())
            while not await gateway.held_usd(team):
                await asyncio.sleep(0.02)
            connection.leave()
        await gateway.wait_until_nothing_is_held(team)
        assert await gateway.settled_count(team) == 0


async def test_a_client_that_hears_all_but_closes_early_is_exact(gateway, team):
    """It closes right after the last byte it wanted, as SDKs do."""
    events = ANTHROPIC_STREAM.events
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("POST", "/v1/messages", team.headers, messages_body(stream=True))
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            if b"message_stop" in answer.body:
                break
        connection.leave()
    assert answer.body == b"".join(events)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "exact"
    assert entry["amount_usd"] == ANTHROPIC_STREAM.amount_usd


async def test_what_a_client_heard_whole_is_settled_before_it_heard_it(gateway, team, provider):
    """The settlement does not wait for the provider to end its framing after the last event."""
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=len(ANTHROPIC_STREAM.events)))
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("POST", "/v1/messages", team.headers, messages_body(stream=True))
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            if answer.body == ANTHROPIC_STREAM.body:
                break
        entry = await gateway.entry(team)
    assert entry["usage_source"] == "exact"
    assert entry["amount_usd"] == ANTHROPIC_STREAM.amount_usd


async def test_so_is_what_a_filter_has_passed_on_whole(gateway, team, provider):
    """The usage chunk is held back from this client; the settlement is not held back with it."""
    provider.will(playing(OPENAI_STREAM, hangs_after_pieces=len(OPENAI_STREAM.events)))
    body = chat_body(stream=True)
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("POST", "/v1/chat/completions", team.headers, body)
        answer = await connection.head()
        async for _ in connection.pieces(answer):
            if b"[DONE]" in answer.body:
                break
        entry = await gateway.entry(team)
    assert entry["usage_source"] == "exact"
    assert entry["amount_usd"] == OPENAI_STREAM.amount_usd


async def test_many_that_leave_at_once_are_each_billed_once(gateway, team, provider):
    streams = 20
    provider.will(*[playing(ANTHROPIC_STREAM, interval_s=0.02)] * streams)
    await asyncio.gather(
        *(
            leave_after(gateway, team, "/v1/messages", messages_body(stream=True), events=2)
            for _ in range(streams)
        )
    )
    entries = await gateway.entries(team, streams)
    assert {entry["amount_usd"] for entry in entries} == {ANTHROPIC_STREAM.amount_usd}
    assert {entry["client_aborted"] for entry in entries} == {True}
    assert await gateway.spend_usd(team) == streams * ANTHROPIC_STREAM.amount_usd


async def test_a_broken_sdk_stream_closes_the_request(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM, interval_s=0.05))
    async with gateway.anthropic(team) as client:
        stream = await client.messages.create(
            model="claude-sonnet-4-6",
            max_tokens=64,
            messages=[{"role": "user", "content": "Grüezi"}],
            stream=True,
        )
        async for _ in stream:
            break
        await stream.close()
    entry = await gateway.entry(team)
    assert entry["client_aborted"] is True
    assert entry["amount_usd"] == ANTHROPIC_STREAM.amount_usd


async def test_a_provider_with_nothing_more_to_say_is_left_with_the_client(gateway, team, provider):
    """The usage is known: there is no reason to wait for the end of a silent body."""
    provider.will(playing(ANTHROPIC_STREAM, hangs_after_pieces=len(ANTHROPIC_STREAM.events)))
    await leave_after(
        gateway,
        team,
        "/v1/messages",
        messages_body(stream=True),
        events=len(ANTHROPIC_STREAM.events),
    )
    left_s = time.monotonic()
    assert await provider.wait_until_left(provider.requests[0]) - left_s < LEFT_WITHIN_S
    assert (await gateway.entry(team))["amount_usd"] == ANTHROPIC_STREAM.amount_usd


async def test_a_call_that_costs_nothing_is_left_with_its_client(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT, hangs_before_head=True))
    async with gateway.connected() as connection:
        connection.send("POST", "/v1/messages/count_tokens", team.headers, messages_body())
        (counting,) = await provider.wait_for_requests(1)
        left_s = time.monotonic()
        connection.leave()
    assert await provider.wait_until_left(counting) - left_s < LEFT_WITHIN_S
    assert await gateway.settled_count(team) == 0
