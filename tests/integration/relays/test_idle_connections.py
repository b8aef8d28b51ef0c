"""Connections to a provider between two requests: which is taken next, and when one is closed."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.upstream.answer import OutgoingRequest
from gateway.upstream.fast import FastUpstream
from gateway.upstream.wheel import DeadlineWheel
from tests.fakes.raw_provider import RawExchange, RawProvider, answers
from tests.integration.relays.test_exchange import CHUNKED, Heard, ask, send

pytestmark = pytest.mark.alone

KEEPALIVE_S = 0.4


@pytest.fixture
async def upstream() -> AsyncIterator[FastUpstream]:
    wheel = DeadlineWheel(tick_s=0.02)
    upstream = FastUpstream(wheel=wheel, keepalive_s=KEEPALIVE_S)
    yield upstream
    await upstream.close()
    wheel.close()


async def heard_together(upstream: FastUpstream, url: str, count: int) -> None:
    sent = [await send(upstream, url) for _ in range(count)]
    async with asyncio.timeout(5):
        await asyncio.gather(*(heard.ended.wait() for heard, _ in sent))
    await asyncio.sleep(0)


def request_to(provider: RawProvider) -> OutgoingRequest:
    return OutgoingRequest(url=f"{provider.url}/v1/messages", query="", headers=[], body=b"{}")


async def test_nothing_is_at_hand_before_the_first_request(upstream: FastUpstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        assert upstream.send_now(request_to(provider), Heard()) is None
        assert provider.connections == 0


async def test_a_request_goes_out_at_once_where_one_is_at_hand(upstream: FastUpstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        await ask(upstream, provider.url)
        heard = Heard()
        assert upstream.send_now(request_to(provider), heard) is not None
        assert upstream.send_now(request_to(provider), Heard()) is None, "the only one is in use"
        async with asyncio.timeout(5):
            await heard.ended.wait()
        assert heard.is_whole
        assert provider.connections == 1


async def test_one_on_which_unasked_bytes_came_is_not_at_hand(upstream: FastUpstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        await ask(upstream, provider.url)
        provider.requests[0].writer.write(CHUNKED)
        await provider.requests[0].writer.drain()
        assert upstream.send_now(request_to(provider), Heard()) is None


async def test_the_last_used_is_used_next_and_the_rest_grow_old(upstream: FastUpstream):
    async def script(exchange: RawExchange) -> None:
        # The first ones run at the same time, each on a connection of its own.
        await asyncio.sleep(0.05 if len(provider.requests) <= 3 else 0)
        await exchange.say(CHUNKED)

    async with RawProvider(script).serving() as provider:
        await heard_together(upstream, provider.url, 3)
        assert provider.connections == 3
        async with asyncio.timeout(3 * KEEPALIVE_S):
            while sum(one.is_left.is_set() for one in provider.requests[:3]) < 2:
                assert (await ask(upstream, provider.url)).is_whole
                await asyncio.sleep(0.02)
        assert provider.connections == 3, "one of them has served all the while"
        assert (await ask(upstream, provider.url)).is_whole
        assert provider.connections == 3


async def test_one_that_nobody_uses_is_closed_in_time_and_not_before(upstream: FastUpstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        await ask(upstream, provider.url)
        await asyncio.sleep(KEEPALIVE_S / 3)
        assert not provider.requests[0].is_left.is_set()
        async with asyncio.timeout(2 * KEEPALIVE_S):
            await provider.requests[0].is_left.wait()


async def test_all_are_closed_at_the_end(upstream: FastUpstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        await heard_together(upstream, provider.url, 2)
        await upstream.close()
        async with asyncio.timeout(1):
            await asyncio.gather(*(one.is_left.wait() for one in provider.requests))
