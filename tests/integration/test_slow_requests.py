"""Requests that stall or dribble, on the gateway's own connections and on the framework's."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.app import Timeouts
from tests.fakes.raw_client import RawAnswer, RawConnection
from tests.fixtures.gateway import GatewayUnderTest, MakeGateway, Team, messages_body

pytestmark = pytest.mark.alone

HEAD_S = 0.5
BODY_S = 0.6
# What a machine that is busy may add.
LATE_S = 1.0
# Harmless, and yet no plain request: the framework's connection takes it.
MARK = ("te", "trailers")
CHUNKED = ("transfer-encoding", "chunked")
LONG = 4 << 20


@pytest.fixture(scope="module")
def shared_gateway(make_gateway: MakeGateway) -> GatewayUnderTest:
    return make_gateway(
        timeouts=Timeouts(
            shutdown_s=10, gone_client_s=2, request_head_s=HEAD_S, request_body_s=BODY_S
        ),
        GATEWAY_BODY_MAX_BYTES=str(LONG),
    )


@pytest.fixture
async def connection(gateway: GatewayUnderTest) -> AsyncIterator[RawConnection]:
    async with gateway.connected() as connection:
        yield connection


def head_of(team: Team, *more: tuple[str, str]) -> bytes:
    headers = [("host", "gateway.test"), *team.headers, *more]
    lines = [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(["POST /v1/messages HTTP/1.1", *lines]).encode() + b"\r\n\r\n"


def of_length(content_bytes: int) -> tuple[str, str]:
    return ("content-length", str(content_bytes))


async def answered(connection: RawConnection) -> RawAnswer:
    async with asyncio.timeout(20):
        return await connection.rest(await connection.head())


ROADS = [[of_length(LONG)], [of_length(LONG), MARK], [CHUNKED]]
ROAD_NAMES = ["own", "framework", "chunked"]


@pytest.mark.parametrize("first", [b"", b"4\r\nabcd\r\n"], ids=["no byte", "a byte"])
@pytest.mark.parametrize("more", ROADS, ids=ROAD_NAMES)
async def test_a_body_that_stalls_is_a_408_in_time(
    connection: RawConnection, team: Team, more: list[tuple[str, str]], first: bytes
):
    """However large it says that it is."""
    connection.send_bytes(head_of(team, *more) + first)
    started_s = time.monotonic()
    answer = await answered(connection)
    assert answer.status == 408
    assert BODY_S * 0.9 < time.monotonic() - started_s < BODY_S + LATE_S
    assert answer.document["error"]["type"]
    async with asyncio.timeout(5):
        assert await connection.is_closed()


@pytest.mark.parametrize("more", ROADS, ids=ROAD_NAMES)
async def test_a_body_that_stalls_after_much_of_it_has_no_more_time(
    connection: RawConnection, team: Team, more: list[tuple[str, str]]
):
    """What came fast is no credit for a pause."""
    much = LONG // 2
    connection.send_bytes(head_of(team, *more) + b"%x\r\n" % much + b" " * much)
    started_s = time.monotonic()
    assert (await answered(connection)).status == 408
    assert time.monotonic() - started_s < BODY_S + 2 * LATE_S


@pytest.mark.parametrize("more", ROADS, ids=ROAD_NAMES)
async def test_a_body_that_dribbles_is_bounded_by_its_least_rate(
    connection: RawConnection, team: Team, more: list[tuple[str, str]]
):
    connection.send_bytes(head_of(team, *more))
    answer = asyncio.ensure_future(answered(connection))
    started_s = time.monotonic()
    while not answer.done() and time.monotonic() - started_s < 10:
        connection.send_bytes(b"1\r\n \r\n")
        await asyncio.sleep(BODY_S / 10)
    assert (await answer).status == 408
    assert time.monotonic() - started_s < BODY_S + LATE_S


@pytest.mark.parametrize("more", [[], [MARK]], ids=["own", "framework"])
async def test_a_body_in_pieces_that_come_in_time_is_taken(
    connection: RawConnection, team: Team, more: list[tuple[str, str]]
):
    """Longer than the time-out in all, and at the least rate."""
    body = messages_body(f', "metadata": {{"user_id": "{"x" * 400_000}"}}')
    connection.send_bytes(head_of(team, of_length(len(body)), *more))
    started_s = time.monotonic()
    for at in range(0, len(body), 40_000):
        await asyncio.sleep(BODY_S / 5)
        connection.send_bytes(body[at : at + 40_000])
    assert time.monotonic() - started_s > 1.5 * BODY_S
    assert (await answered(connection)).status == 200


@pytest.mark.parametrize("beginning", [b"P", b"POST /v1/mess", b"POST / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_stalls_ends_its_connection_in_time(
    connection: RawConnection, beginning: bytes
):
    connection.send_bytes(beginning)
    started_s = time.monotonic()
    async with asyncio.timeout(10):
        assert await connection.is_closed()
    assert HEAD_S * 0.9 < time.monotonic() - started_s < 1.5 * HEAD_S + LATE_S


async def test_a_head_that_dribbles_ends_its_connection_in_time(connection: RawConnection):
    connection.send_bytes(b"POST / HTTP/1.1\r\n")
    closed = asyncio.ensure_future(connection.is_closed())
    started_s = time.monotonic()
    while not closed.done() and time.monotonic() - started_s < 10:
        connection.send_bytes(b"X: y\r\n")
        await asyncio.sleep(HEAD_S / 10)
    assert await closed
    assert time.monotonic() - started_s < 1.5 * HEAD_S + LATE_S


async def test_a_head_that_stalls_behind_an_answer_ends_its_connection_in_time(
    connection: RawConnection, team: Team
):
    body = messages_body()
    connection.send_bytes(head_of(team, of_length(len(body))) + body)
    assert (await answered(connection)).status == 200
    connection.send_bytes(b"POST /v1/mess")
    async with asyncio.timeout(1.5 * HEAD_S + LATE_S):
        assert await connection.is_closed()


async def test_a_head_in_two_pieces_is_taken_and_its_connection_kept(
    connection: RawConnection, team: Team
):
    body = messages_body()
    head = head_of(team, of_length(len(body)))
    connection.send_bytes(head[:20])
    await asyncio.sleep(HEAD_S / 2)
    connection.send_bytes(head[20:] + body)
    assert (await answered(connection)).status == 200
    await asyncio.sleep(2 * HEAD_S)
    connection.send_bytes(head + body)
    assert (await answered(connection)).status == 200


SMALL = 256 * 1024


@pytest.fixture(scope="module")
def small_gateway(make_gateway: MakeGateway) -> GatewayUnderTest:
    """Its bodies are small, and stall for long."""
    return make_gateway(
        timeouts=Timeouts(shutdown_s=10, gone_client_s=2, request_body_s=4),
        GATEWAY_BODY_MAX_BYTES=str(SMALL),
    )


@pytest.mark.parametrize(
    "more",
    [[of_length(SMALL)], [of_length(SMALL), MARK], [CHUNKED]],
    ids=ROAD_NAMES,
)
async def test_bodies_of_a_team_beyond_its_share_of_the_memory_are_a_503(
    small_gateway: GatewayUnderTest, more: list[tuple[str, str]]
):
    """Four of the largest are a team's; other teams have the rest, and it has it back."""
    team, other = await small_gateway.make_team(), await small_gateway.make_team()
    most = SMALL - 1024
    async with AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(small_gateway.connected()) for _ in range(6)]
        for each in senders:
            each.send_bytes(head_of(team, *more) + b"%x\r\n" % most + b" " * most)
        answers = await asyncio.gather(*map(answered, senders))
        statuses = [answer.status for answer in answers]
        # They grow together, so that more than two may find no room.
        assert statuses.count(503) >= 2
        assert statuses.count(408) == 6 - statuses.count(503) > 0
        refused = answers[statuses.index(503)]
        assert refused.header("x-should-retry") == "true"
        assert refused.header("retry-after") == "1"
        assert refused.document["type"] == "error"
    body = messages_body(f', "metadata": {{"user_id": "{"x" * 200_000}"}}')
    for sender in (other, team):
        assert (await small_gateway.post("/v1/messages", body, sender)).status == 200
