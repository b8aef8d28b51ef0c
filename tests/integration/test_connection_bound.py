"""More clients than there are descriptors for: what is there goes on, and the rest is turned away."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog

from gateway.app.descriptors import clients_max
from tests.fakes.raw_client import RawConnection, request
from tests.fixtures.gateway import GatewayUnderTest, MakeGateway, Team, messages_body

pytestmark = pytest.mark.alone

DESCRIPTORS = 400
CLIENTS_MAX = (DESCRIPTORS - 100) // 2
# Harmless, and yet no plain request: the framework's connection takes it.
MARK = ("te", "trailers")


@pytest.fixture(scope="module")
def shared_gateway(make_gateway: MakeGateway) -> GatewayUnderTest:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # While it starts: client and provider of the test live in this process, too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    try:
        assert clients_max() == CLIENTS_MAX
        return make_gateway()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def crowd(gateway: GatewayUnderTest, count: int) -> AsyncIterator[list[RawConnection]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(gateway.connected()) for _ in range(count)]


async def status(connection: RawConnection, team: Team, *more: tuple[str, str]) -> int:
    connection.send("POST", "/v1/messages", [*team.headers, *more], messages_body())
    async with asyncio.timeout(10):
        return (await connection.rest(await connection.head())).status


async def is_turned_away(connection: RawConnection) -> bool:
    try:
        async with asyncio.timeout(5):
            return await connection.is_closed()
    except ConnectionError:
        return True


async def test_beyond_the_bound_new_clients_are_turned_away_and_the_others_served(
    gateway: GatewayUnderTest, team: Team
):
    with structlog.testing.capture_logs() as logs:
        async with crowd(gateway, CLIENTS_MAX) as clients:
            # Those that the framework has taken over count like the rest.
            for each in clients[:5]:
                assert await status(each, team, MARK) == 200
            async with crowd(gateway, 3) as late:
                assert all([await is_turned_away(each) for each in late])
            assert await status(clients[-1], team) == 200
            assert gateway.running.admin_url is not None
            assert (await request(gateway.running.admin_url, "GET", "/livez")).status == 200
    full = [entry for entry in logs if entry["event"] == "connections.full"]
    assert [entry["connections_max"] for entry in full] == [CLIENTS_MAX]


async def test_a_client_that_leaves_makes_room(gateway: GatewayUnderTest, team: Team):
    async with crowd(gateway, CLIENTS_MAX) as clients:
        assert await status(clients[0], team, MARK) == 200
        for each in clients[:2]:
            each.leave()
        await asyncio.sleep(0.2)
        async with crowd(gateway, 2) as next_ones:
            assert [await status(each, team) for each in next_ones] == [200, 200]
            async with crowd(gateway, 1) as late:
                assert await is_turned_away(late[0])


@pytest.mark.parametrize(
    ("descriptors", "clients"), [(256, 96), (1024, 384), (4096, 1792), (20_000, 9744)]
)
def test_each_client_has_two_descriptors_behind_a_reserve(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, clients: int
):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert clients_max() == clients
