import asyncio
import threading

import pytest

from gateway.postgres.connection import connect
from gateway.postgres.migrate import schema_is_current, upgrade
from tests.fakes.command import gateways


async def count(url: str, statement: str) -> int:
    connection = await connect(url, application_name="tests")
    try:
        return int(await connection.fetchval(statement))
    finally:
        await connection.close()


async def test_an_empty_database_is_not_current_and_an_upgraded_one_is(
    empty_database_url: str,
) -> None:
    assert not await schema_is_current(empty_database_url)
    await asyncio.to_thread(upgrade, empty_database_url)
    assert await schema_is_current(empty_database_url)


async def test_a_database_that_lacks_one_branch_is_not_current(empty_database_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_database_url)
    await count(
        empty_database_url,
        "WITH gone AS (DELETE FROM alembic_version WHERE version_num = "
        "(SELECT min(version_num) FROM alembic_version) RETURNING 1) SELECT count(*) FROM gone",
    )

    assert not await schema_is_current(empty_database_url)


def test_upgrades_that_come_at_once_queue_and_all_succeed(empty_database_url: str) -> None:
    failed: list[BaseException] = []

    def migrate() -> None:
        try:
            upgrade(empty_database_url)
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failed == []
    assert asyncio.run(schema_is_current(empty_database_url))


async def test_an_upgrade_inside_a_running_loop_is_no_error(empty_database_url: str) -> None:
    upgrade(empty_database_url)

    assert await count(
        empty_database_url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'ledger'"
    )


async def test_an_upgrade_leaves_no_session_behind(empty_database_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_database_url)

    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(2):
        while await count(empty_database_url, others):
            await asyncio.sleep(0.02)


def test_an_upgrade_of_a_database_that_is_not_there_raises() -> None:
    with pytest.raises(OSError):
        upgrade("postgresql://gateway@/gateway?host=%2Fno-such-directory&port=5432")


@pytest.mark.parametrize(
    ("revision", "said"),
    [("0999", "newer than this release"), ("caps1", "migrations/site")],
    ids=["product", "site"],
)
async def test_a_database_that_is_ahead_is_named_as_such_by_every_command(
    database_url: str, revision: str, said: str
) -> None:
    await count(
        database_url,
        f"WITH new AS (INSERT INTO alembic_version VALUES ('{revision}') RETURNING 1)"
        " SELECT count(*) FROM new",
    )

    migrated, listed, served, checked = await gateways(
        "migrate", "team list", "serve --port 0", "doctor", GATEWAY_DATABASE_URL=database_url
    )

    for refused in (migrated, listed, served):
        assert (refused.status, len(refused.lines)) == (1, 1)
        assert revision in refused.stderr
        assert said in refused.stderr
    assert checked.status == 1
    assert revision in checked.stdout.decode()
