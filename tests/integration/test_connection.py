import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from gateway.postgres.connection import DedicatedConnection, connect
from gateway.postgres.errors import DATA_ERRORS, INFRASTRUCTURE_ERRORS
from tests.fakes.flaky_tcp import FlakyTcp


@pytest.fixture
async def proxy(empty_database_url: str) -> AsyncIterator[FlakyTcp]:
    async with FlakyTcp.before_postgres(empty_database_url) as proxy:
        yield proxy


@pytest.fixture
async def dedicated(proxy: FlakyTcp, empty_database_url: str) -> AsyncIterator[DedicatedConnection]:
    dedicated = DedicatedConnection(proxy.postgres_url(empty_database_url), application_name="t")
    yield dedicated
    await dedicated.close()


async def backend_pid(dedicated: DedicatedConnection) -> int:
    async with dedicated.use() as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def test_a_connection_has_its_name_and_speaks_utc(empty_database_url: str) -> None:
    connection = await connect(empty_database_url, application_name="gateway-test")
    try:
        row = await connection.fetchrow(
            "SELECT current_setting('application_name') AS name, current_setting('timezone') AS zone"
        )
        assert row is not None
        assert (row["name"], row["zone"]) == ("gateway-test", "UTC")
    finally:
        await connection.close()


async def test_connecting_to_a_hung_server_ends_in_time(
    proxy: FlakyTcp, empty_database_url: str
) -> None:
    proxy.freeze()

    with pytest.raises(INFRASTRUCTURE_ERRORS) as caught:
        await connect(proxy.postgres_url(empty_database_url), application_name="t", timeout_s=0.2)
    assert isinstance(caught.value, TimeoutError)


async def test_connecting_to_a_server_that_is_gone_is_an_infrastructure_error(
    proxy: FlakyTcp, empty_database_url: str
) -> None:
    proxy.refuse()

    with pytest.raises(INFRASTRUCTURE_ERRORS):
        await connect(proxy.postgres_url(empty_database_url), application_name="t")


async def test_the_same_connection_serves_one_use_after_another(
    dedicated: DedicatedConnection,
) -> None:
    assert await backend_pid(dedicated) == await backend_pid(dedicated)


async def test_uses_wait_for_their_turn(dedicated: DedicatedConnection) -> None:
    running = 0

    async def one() -> None:
        nonlocal running
        async with dedicated.use() as connection:
            running += 1
            assert running == 1
            await connection.fetchval("SELECT pg_sleep(0.01)")
            running -= 1

    await asyncio.gather(*(one() for _ in range(5)))


async def test_an_error_of_the_statement_keeps_the_connection(
    dedicated: DedicatedConnection,
) -> None:
    before = await backend_pid(dedicated)
    with pytest.raises(asyncpg.UndefinedTableError):
        async with dedicated.use() as connection:
            await connection.execute("SELECT * FROM there_is_none")

    assert await backend_pid(dedicated) == before


@pytest.mark.parametrize(
    ("statement", "argument"),
    [
        ("SELECT $1::int", 1 << 40),  # refused by the driver's encoder
        ("SELECT $1::int", "seven"),
        ("SELECT $1::text", "zero \0 byte"),  # refused by the server
        ("SELECT 1 / $1::int", 0),
    ],
)
async def test_a_value_that_will_never_post_is_a_data_error_and_keeps_the_connection(
    dedicated: DedicatedConnection, statement: str, argument: object
) -> None:
    before = await backend_pid(dedicated)
    with pytest.raises(DATA_ERRORS):
        async with dedicated.use() as connection:
            await connection.fetchval(statement, argument)

    assert await backend_pid(dedicated) == before


async def test_a_constraint_that_refuses_a_row_is_a_data_error(
    dedicated: DedicatedConnection,
) -> None:
    async with dedicated.use() as connection:
        await connection.execute("CREATE TEMP TABLE t (n int CHECK (n > 0))")
        with pytest.raises(DATA_ERRORS):
            await connection.execute("INSERT INTO t VALUES (0)")


async def test_a_cut_connection_is_an_infrastructure_error_and_the_next_use_has_a_new_one(
    dedicated: DedicatedConnection, proxy: FlakyTcp
) -> None:
    before = await backend_pid(dedicated)

    async def use() -> None:
        async with dedicated.use() as connection:
            proxy.cut()
            await connection.fetchval("SELECT 1")

    with pytest.raises(INFRASTRUCTURE_ERRORS):
        await use()

    assert await backend_pid(dedicated) != before


async def test_a_backend_that_was_terminated_is_an_infrastructure_error(
    dedicated: DedicatedConnection, empty_database_url: str
) -> None:
    before = await backend_pid(dedicated)
    killer = await connect(empty_database_url, application_name="killer")

    async def use() -> None:
        async with dedicated.use() as connection:
            running = asyncio.ensure_future(connection.fetchval("SELECT pg_sleep(30)"))
            await asyncio.sleep(0.05)
            await killer.fetchval("SELECT pg_terminate_backend($1)", before)
            await running

    try:
        with pytest.raises(INFRASTRUCTURE_ERRORS):
            await use()
    finally:
        await killer.close()

    assert await backend_pid(dedicated) != before


async def test_a_lost_answer_ends_in_time_and_never_reaches_the_next_use(
    dedicated: DedicatedConnection, proxy: FlakyTcp
) -> None:
    before = await backend_pid(dedicated)
    proxy.drop_answers()
    with pytest.raises(TimeoutError):
        async with dedicated.use(timeout_s=0.2) as connection:
            await connection.fetchval("SELECT 41")
    await proxy.restore()

    async with dedicated.use() as connection:
        assert await connection.fetchval("SELECT 42") == 42
    assert await backend_pid(dedicated) != before
    assert proxy.dropped_bytes > 0


async def test_a_use_that_is_cancelled_discards_the_connection(
    dedicated: DedicatedConnection,
) -> None:
    before = await backend_pid(dedicated)

    async def sleep() -> None:
        async with dedicated.use(timeout_s=30) as connection:
            await connection.fetchval("SELECT pg_sleep(30)")

    task = asyncio.ensure_future(sleep())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await backend_pid(dedicated) != before


async def test_a_bug_in_the_block_discards_the_connection(dedicated: DedicatedConnection) -> None:
    before = await backend_pid(dedicated)
    with pytest.raises(RuntimeError):
        async with dedicated.use():
            raise RuntimeError

    assert await backend_pid(dedicated) != before


async def test_an_open_transaction_is_not_left_to_the_next_use(
    dedicated: DedicatedConnection,
) -> None:
    async with dedicated.use() as connection:
        await connection.execute("BEGIN")
        await connection.execute("CREATE TABLE left_over (n int)")

    async with dedicated.use() as connection:
        assert await connection.fetchval("SELECT to_regclass('left_over')") is None


async def test_waiting_for_a_turn_counts_against_the_time(dedicated: DedicatedConnection) -> None:
    async with dedicated.use():
        with pytest.raises(TimeoutError):
            async with dedicated.use(timeout_s=0.05):
                pytest.fail("two users at once")


async def test_closing_does_not_wait_for_a_hung_server(
    dedicated: DedicatedConnection, proxy: FlakyTcp
) -> None:
    await backend_pid(dedicated)
    proxy.freeze()

    async with asyncio.timeout(4):
        await dedicated.close()
    with pytest.raises(INFRASTRUCTURE_ERRORS):
        await backend_pid(dedicated)
