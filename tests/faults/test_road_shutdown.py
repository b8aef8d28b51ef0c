"""A gateway that is told to end, and requests that clients were already sending."""

import asyncio
import time

import pytest

from gateway.app import Timeouts
from tests.fakes.raw_client import RawConnection, connected
from tests.fixtures.gateway import GatewayUnderTest, MakeGateway, Team, messages_body

pytestmark = pytest.mark.alone

QUIET_S = 0.6
BODY = messages_body()


@pytest.fixture
def ending(make_gateway: MakeGateway) -> GatewayUnderTest:
    """A gateway of the test's own, to be ended by it."""
    return make_gateway(timeouts=Timeouts(shutdown_s=10, last_request_s=QUIET_S))


@pytest.fixture
async def customer(ending: GatewayUnderTest) -> Team:
    return await ending.make_team()


async def is_ending(gateway: GatewayUnderTest) -> None:
    async with asyncio.timeout(5):
        while gateway.running.readiness.is_ready:
            await asyncio.sleep(0.01)
    # The listener closes in the same turn of the gateway's loop; connections would after it.
    await asyncio.sleep(0.1)


def send_head(connection: RawConnection, team: Team) -> None:
    lines = ["POST /v1/messages HTTP/1.1", "host: gateway.test", f"content-length: {len(BODY)}"]
    lines += [f"{name}: {value}" for name, value in team.headers]
    connection.send_bytes("\r\n".join(lines).encode() + b"\r\n\r\n")


async def test_a_connection_that_is_new_has_its_request_answered(
    ending: GatewayUnderTest, customer: Team
) -> None:
    async with connected(ending.url) as connection:
        await asyncio.sleep(0.05)
        end = asyncio.create_task(asyncio.to_thread(ending.end))
        await is_ending(ending)
        connection.send("POST", "/v1/messages", customer.headers, BODY)
        answer = await connection.rest(await connection.head())
        await end
    assert answer.status == 200
    assert answer.header("connection") == "close"


async def test_a_connection_that_is_kept_has_its_next_request_answered_and_is_closed(
    ending: GatewayUnderTest, customer: Team
) -> None:
    async with connected(ending.url) as connection:
        connection.send("POST", "/v1/messages", customer.headers, BODY)
        first = await connection.rest(await connection.head())
        assert first.header("connection") is None
        end = asyncio.create_task(asyncio.to_thread(ending.end))
        await is_ending(ending)
        connection.send("POST", "/v1/messages", customer.headers, BODY)
        answer = await connection.rest(await connection.head())
        assert await connection.is_closed()
        await end
    assert (first.status, answer.status) == (200, 200)
    assert answer.header("connection") == "close"


async def test_a_request_whose_body_is_still_coming_is_answered(
    ending: GatewayUnderTest, customer: Team
) -> None:
    """It may take longer than a connection without a request may stay."""
    async with connected(ending.url) as connection:
        send_head(connection, customer)
        connection.send_bytes(BODY[:20])
        await asyncio.sleep(0.1)
        end = asyncio.create_task(asyncio.to_thread(ending.end))
        await is_ending(ending)
        await asyncio.sleep(QUIET_S + 0.2)
        connection.send_bytes(BODY[20:])
        answer = await connection.rest(await connection.head())
        await end
    assert answer.status == 200
    assert (await ending.entry(customer))["usage_source"] == "exact"


async def test_connections_without_a_request_hold_the_end_up_no_longer_than_agreed(
    ending: GatewayUnderTest, customer: Team
) -> None:
    async with connected(ending.url), connected(ending.url) as kept:
        kept.send("POST", "/v1/messages", customer.headers, BODY)
        assert (await kept.rest(await kept.head())).status == 200
        began_s = time.monotonic()
        await asyncio.to_thread(ending.end)
        assert QUIET_S <= time.monotonic() - began_s < QUIET_S + 2


async def test_nobody_connected_is_nobody_waited_for(ending: GatewayUnderTest) -> None:
    began_s = time.monotonic()
    await asyncio.to_thread(ending.end)
    assert time.monotonic() - began_s < QUIET_S
