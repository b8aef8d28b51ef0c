import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.postgres.connection import connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.listener import Listener
from tests.fakes.flaky_tcp import FlakyTcp

pytestmark = pytest.mark.alone


class Heard:
    """What a listener called back with, to be waited for."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, str]] = []
        self.connects = 0

    def cap(self, payload: str) -> None:
        self.payloads.append(("cap", payload))

    def key(self, payload: str) -> None:
        self.payloads.append(("key", payload))

    def connected(self) -> None:
        self.connects += 1

    async def until(self, is_so: Callable[[], bool], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not is_so():
                await asyncio.sleep(0.005)


Notify = Callable[..., Awaitable[None]]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def proxy(empty_database_url: str) -> AsyncIterator[FlakyTcp]:
    async with FlakyTcp.before_postgres(empty_database_url) as proxy:
        yield proxy


@pytest.fixture
async def listener(
    proxy: FlakyTcp, empty_database_url: str, heard: Heard
) -> AsyncIterator[Listener]:
    listener = Listener(
        proxy.postgres_url(empty_database_url),
        {"budget_cap": heard.cap, "gateway_key": heard.key},
        on_connected=heard.connected,
        heartbeat_s=0.1,
        heartbeat_timeout_s=0.1,
    )
    yield listener
    await listener.close()


@pytest.fixture
async def notify(empty_database_url: str) -> AsyncIterator[Notify]:
    connection = await connect(empty_database_url, application_name="notifier")

    async def notify(channel: str, payload: str) -> None:
        await connection.execute("SELECT pg_notify($1, $2)", channel, payload)

    yield notify
    await connection.close()


async def test_every_channel_calls_its_own_callback(
    listener: Listener, heard: Heard, notify: Notify
) -> None:
    listener.start()
    await heard.until(lambda: heard.connects == 1)
    await notify("budget_cap", "7")
    await notify("gateway_key", "team:3")
    await notify("another_channel", "x")

    await heard.until(lambda: len(heard.payloads) == 2)
    assert heard.payloads == [("cap", "7"), ("key", "team:3")]
    assert listener.is_connected


async def test_nothing_is_missed_between_connecting_and_rereading(
    listener: Listener, heard: Heard, notify: Notify
) -> None:
    """on_connected comes after LISTEN: a notification sent at that very moment arrives."""
    sent: list[asyncio.Future[None]] = []
    listener._on_connected = lambda: sent.append(asyncio.ensure_future(notify("budget_cap", "1")))
    listener.start()

    await heard.until(lambda: heard.payloads == [("cap", "1")])
    await asyncio.gather(*sent)


async def test_a_terminated_backend_is_replaced_and_readers_are_told(
    listener: Listener, heard: Heard, notify: Notify, empty_database_url: str
) -> None:
    listener.start()
    await heard.until(lambda: heard.connects == 1)
    killer = await connect(empty_database_url, application_name="killer")
    await killer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'gateway-listen' AND datname = current_database()"
    )
    await killer.close()

    await heard.until(lambda: heard.connects == 2)
    await notify("budget_cap", "8")
    await heard.until(lambda: heard.payloads == [("cap", "8")])


async def test_a_hung_connection_is_noticed_by_the_heartbeat(
    listener: Listener, heard: Heard, notify: Notify, proxy: FlakyTcp
) -> None:
    listener.start()
    await heard.until(lambda: heard.connects == 1)
    proxy.freeze()
    await heard.until(lambda: not listener.is_connected)
    await proxy.restore()
    proxy.cut()

    await heard.until(lambda: heard.connects == 2)
    await notify("budget_cap", "9")
    await heard.until(lambda: heard.payloads[-1:] == [("cap", "9")])


async def test_a_database_that_is_down_at_the_start_is_waited_for(
    listener: Listener, heard: Heard, proxy: FlakyTcp
) -> None:
    proxy.refuse()
    listener.start()
    await asyncio.sleep(0.2)
    assert heard.connects == 0
    await proxy.restore()

    await heard.until(lambda: heard.connects == 1)


async def test_a_callback_that_fails_does_not_end_the_listening(
    proxy: FlakyTcp, empty_database_url: str, heard: Heard, notify: Notify
) -> None:
    def fail(payload: str) -> None:
        raise RuntimeError(payload)

    listener = Listener(
        proxy.postgres_url(empty_database_url),
        {"budget_cap": fail, "gateway_key": heard.key},
        on_connected=heard.connected,
    )
    listener.start()
    try:
        await heard.until(lambda: heard.connects == 1)
        await notify("budget_cap", "1")
        await notify("gateway_key", "2")

        await heard.until(lambda: heard.payloads == [("key", "2")])
        assert heard.connects == 1
    finally:
        await listener.close()


async def test_closing_ends_at_once_while_the_server_hangs(
    listener: Listener, heard: Heard, proxy: FlakyTcp
) -> None:
    listener.start()
    await heard.until(lambda: heard.connects == 1)
    proxy.freeze()

    async with asyncio.timeout(0.5):
        await listener.close()
    assert not listener.is_connected


async def test_closing_ends_at_once_while_the_database_is_down(
    listener: Listener, proxy: FlakyTcp
) -> None:
    proxy.refuse()
    listener.start()
    await asyncio.sleep(0.1)

    async with asyncio.timeout(0.5):
        await listener.close()


async def test_a_restart_of_the_server_is_outlived(tmp_path: Path, heard: Heard) -> None:
    server = EmbeddedPostgres(tmp_path, is_durable=False)
    await asyncio.to_thread(server.start)
    listener = Listener(server.url(), {"budget_cap": heard.cap}, on_connected=heard.connected)
    listener.start()
    try:
        await heard.until(lambda: heard.connects == 1)
        await asyncio.to_thread(server.stop)
        await heard.until(lambda: not listener.is_connected)
        await asyncio.to_thread(server.start)
        await heard.until(lambda: heard.connects == 2)

        connection = await connect(server.url(), application_name="notifier")
        await connection.execute("SELECT pg_notify('budget_cap', '5')")
        await connection.close()
        await heard.until(lambda: heard.payloads == [("cap", "5")])
    finally:
        await listener.close()
        await asyncio.to_thread(server.stop)
