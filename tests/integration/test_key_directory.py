"""The directory of keys against a real PostgreSQL, which fails, hangs and loses notifications."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from gateway.auth.directory import (
    ASK_TIMEOUT_S,
    ASKED_AT_ONCE_MAX,
    REREAD_INTERVAL_S,
    WAITING_MAX,
    KeyDirectory,
)
from gateway.auth.keys import hash_key, new_key
from gateway.auth.known_keys import UNKNOWN_TTL_S
from gateway.domain.errors import AuthenticationError, LedgerUnavailableError
from gateway.domain.identity import Principal
from gateway.postgres.connection import Connection, DedicatedConnection
from gateway.postgres.listener import Listener
from tests.fakes.clock import FakeClock
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fixtures.database import MakeKey, MakeTeam

pytestmark = pytest.mark.alone


@asynccontextmanager
async def directory_at(
    url: str, clock: FakeClock, *, listens: bool = True, keys_max: int = 5000
) -> AsyncIterator[KeyDirectory]:
    connection = DedicatedConnection(url, application_name="tests-keys")
    directory = KeyDirectory(connection, clock=clock, keys_max=keys_max)
    await directory.start()
    connected = asyncio.Event()

    def on_connected() -> None:
        directory.on_listener_connected()
        connected.set()

    listener = Listener(url, {"gateway_key": directory.on_key_changed}, on_connected=on_connected)
    if listens:
        listener.start()
        await asyncio.wait_for(connected.wait(), 5)
    yield directory
    await listener.close()
    await directory.close()
    await connection.close()


@pytest.fixture
async def directory(database_url: str, clock: FakeClock) -> AsyncIterator[KeyDirectory]:
    async with directory_at(database_url, clock) as directory:
        yield directory


@pytest.fixture
async def deaf_directory(database_url: str, clock: FakeClock) -> AsyncIterator[KeyDirectory]:
    """It hears no notification: all of them are lost."""
    async with directory_at(database_url, clock, listens=False) as directory:
        yield directory


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[FlakyTcp]:
    async with FlakyTcp.before_postgres(database_url) as proxy:
        yield proxy


async def eventually(condition: Callable[[], bool], within_s: float = 1.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def known(directory: KeyDirectory, key: str) -> Principal:
    """Present a key until it is in memory: what its own making notifies may come in between."""
    async with asyncio.timeout(1):
        while True:
            principal = await directory.authenticate(key)
            if directory.find(key) is principal:
                return principal
            await asyncio.sleep(0.005)


async def refused(work: Awaitable[object]) -> str:
    with pytest.raises(AuthenticationError) as caught:
        await work
    return caught.value.message


async def revoke(database: Connection, key_id: int) -> None:
    await database.execute(
        "UPDATE ledger.api_key SET revoked_at = now() WHERE api_key_id = $1", key_id
    )


async def test_a_key_is_asked_for_once_and_then_known(
    directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    team_id = await make_team("growth")
    key_id, key = await make_key(team_id, may_override_budget=True)
    assert directory.find(key) is None

    principal = await known(directory, key)

    assert (principal.api_key_id, principal.team_id) == (key_id, team_id)
    assert (principal.team_name, principal.key_prefix) == ("growth", key[:11])
    assert principal.may_override_budget
    before = directory.query_count
    assert await directory.authenticate(key) is principal
    assert directory.query_count == before


async def test_unknown_revoked_and_archived_get_the_same_answer(
    directory: KeyDirectory, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    revoked_id, revoked = await make_key(await make_team("growth"))
    await revoke(database, revoked_id)
    archived_team = await make_team("gone")
    _, archived = await make_key(archived_team)
    await database.execute(
        "UPDATE ledger.team SET archived_at = now() WHERE team_id = $1", archived_team
    )

    messages = {
        await refused(directory.authenticate(key)) for key in (revoked, archived, new_key(), "junk")
    }

    assert len(messages) == 1


@pytest.mark.parametrize(
    "key", ["", "sk-abc", "gw_a b", "gw_\x00", "gw_é", "gw_\udcff", "gw_" + "a" * 300]
)
async def test_what_cannot_be_a_key_is_refused_without_a_query(
    deaf_directory: KeyDirectory, key: str
) -> None:
    assert deaf_directory.find(key) is None
    await refused(deaf_directory.authenticate(key))

    assert deaf_directory.query_count == 0


async def test_a_new_key_works_at_once_even_where_it_was_tried_before(
    directory: KeyDirectory, database: Connection, make_team: MakeTeam
) -> None:
    key = new_key()
    await refused(directory.authenticate(key))
    team_id = await make_team("growth")
    await database.execute(
        "INSERT INTO ledger.api_key (team_id, key_hash, key_prefix) VALUES ($1, $2, $3)",
        team_id, hash_key(key), key[:11],
    )  # fmt: skip

    async def works() -> bool:
        try:
            return (await directory.authenticate(key)).team_id == team_id
        except AuthenticationError:
            return False

    async with asyncio.timeout(1):
        while not await works():
            await asyncio.sleep(0.005)


async def test_a_revoked_key_fails_by_its_notification(
    directory: KeyDirectory, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    key_id, key = await make_key(await make_team())
    await known(directory, key)
    await revoke(database, key_id)

    await eventually(lambda: directory.find(key) is None, within_s=0.4)
    await refused(directory.authenticate(key))


async def test_an_archived_team_fails_by_its_notification(
    deaf_directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    team_id = await make_team("growth")
    _, key = await make_key(team_id)
    _, other = await make_key(await make_team("marketing"))
    await known(deaf_directory, key)
    await known(deaf_directory, other)

    deaf_directory.on_key_changed(f"team:{team_id}")
    assert deaf_directory.find(key) is None
    assert deaf_directory.find(other) is not None


async def test_a_revoked_key_fails_within_a_second_without_its_notification(
    deaf_directory: KeyDirectory, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    key_id, key = await make_key(await make_team())
    await known(deaf_directory, key)
    await revoke(database, key_id)

    await eventually(lambda: deaf_directory.find(key) is None)
    await refused(deaf_directory.authenticate(key))


async def test_a_change_while_a_key_is_asked_for_has_it_asked_for_anew(
    deaf_directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    key_id, key = await make_key(await make_team())
    waiting = asyncio.ensure_future(deaf_directory.authenticate(key))
    before = deaf_directory.query_count
    while deaf_directory.query_count == before:
        await asyncio.sleep(0)
    deaf_directory.on_key_changed(str(key_id))

    assert (await waiting).api_key_id == key_id
    assert deaf_directory.find(key) is not None


async def test_what_was_read_amid_changes_is_good_for_one_request(
    deaf_directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    key_id, key = await make_key(await make_team())
    unknown = new_key()
    answers = asyncio.gather(
        deaf_directory.authenticate(key),
        deaf_directory.authenticate(unknown),
        return_exceptions=True,
    )
    while not answers.done():
        deaf_directory.on_key_changed(str(key_id + 1))
        await asyncio.sleep(0)

    principal, refusal = await answers
    assert principal.api_key_id == key_id
    assert isinstance(refusal, AuthenticationError)
    assert deaf_directory.find(key) is None
    before = deaf_directory.query_count
    await refused(deaf_directory.authenticate(unknown))
    assert deaf_directory.query_count > before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.team SET archived_at = now()",
        "DELETE FROM ledger.api_key",
        "UPDATE ledger.api_key SET revoked_at = '2020-01-01'",
    ],
)
@pytest.mark.parametrize("listens", [True, False])
async def test_every_way_to_withdraw_a_key_counts_within_a_second(
    database_url: str,
    database: Connection,
    clock: FakeClock,
    make_team: MakeTeam,
    make_key: MakeKey,
    statement: str,
    listens: bool,
) -> None:
    async with directory_at(database_url, clock, listens=listens) as directory:
        _, key = await make_key(await make_team())
        await known(directory, key)
        await database.execute(statement)

        await eventually(lambda: directory.find(key) is None)
        await refused(directory.authenticate(key))


@pytest.mark.parametrize("listens", [True, False])
async def test_a_right_that_is_taken_away_is_gone_within_a_second(
    database_url: str,
    database: Connection,
    clock: FakeClock,
    make_team: MakeTeam,
    make_key: MakeKey,
    listens: bool,
) -> None:
    async with directory_at(database_url, clock, listens=listens) as directory:
        _, key = await make_key(await make_team("old"), may_override_budget=True)
        await known(directory, key)
        await database.execute("UPDATE ledger.api_key SET may_override_budget = false")
        await database.execute("UPDATE ledger.team SET name = 'new'")

        async with asyncio.timeout(1):
            while True:
                principal = await directory.authenticate(key)
                if (principal.may_override_budget, principal.team_name) == (False, "new"):
                    return
                await asyncio.sleep(0.005)


async def test_many_known_keys_lose_the_revoked_one_without_notification(
    deaf_directory: KeyDirectory, database: Connection, make_team: MakeTeam
) -> None:
    """More keys than one look verifies: the re-read of what was revoked lately finds it."""
    team_id = await make_team()
    keys = [new_key() for _ in range(2_000)]
    await database.executemany(
        "INSERT INTO ledger.api_key (team_id, key_hash, key_prefix) VALUES ($1, $2, $3)",
        [(team_id, hash_key(key), key[:11]) for key in keys],
    )
    principals = await asyncio.gather(*(deaf_directory.authenticate(key) for key in keys))
    # Verified last: those that were used longest ago.
    for number in (0, 1, 2):
        await revoke(database, principals[number].api_key_id)

    await eventually(lambda: all(deaf_directory.find(keys[n]) is None for n in (0, 1, 2)))
    assert sum(deaf_directory.find(key) is not None for key in keys) == 1_997


async def test_many_known_keys_of_an_archived_team_are_lost_without_notification(
    deaf_directory: KeyDirectory, database: Connection, make_team: MakeTeam
) -> None:
    team_id = await make_team()
    keys = [new_key() for _ in range(2_000)]
    await database.executemany(
        "INSERT INTO ledger.api_key (team_id, key_hash, key_prefix) VALUES ($1, $2, $3)",
        [(team_id, hash_key(key), key[:11]) for key in keys],
    )
    await asyncio.gather(*(deaf_directory.authenticate(key) for key in keys))
    await database.execute("UPDATE ledger.team SET archived_at = now()")

    await eventually(lambda: not any(deaf_directory.find(key) for key in keys))


async def test_every_known_key_is_verified_in_turn_however_many(
    deaf_directory: KeyDirectory, database: Connection, make_team: MakeTeam
) -> None:
    """A key that is gone was not revoked: only a look at itself finds that."""
    team_id = await make_team()
    keys = [new_key() for _ in range(2 * ASKED_AT_ONCE_MAX)]
    await database.executemany(
        "INSERT INTO ledger.api_key (team_id, key_hash, key_prefix) VALUES ($1, $2, $3)",
        [(team_id, hash_key(key), key[:11]) for key in keys],
    )
    before = deaf_directory.query_count
    await asyncio.gather(*(deaf_directory.authenticate(key) for key in keys))
    assert deaf_directory.query_count >= before + 2
    gone = [keys[0], keys[-1]]
    await database.execute(
        "DELETE FROM ledger.api_key WHERE key_hash = ANY($1)", [hash_key(key) for key in gone]
    )

    await eventually(
        lambda: all(deaf_directory.find(key) is None for key in gone),
        within_s=4 * REREAD_INTERVAL_S + 1,
    )


async def test_concurrent_look_ups_of_one_key_share_one_query(
    deaf_directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    await asyncio.sleep(0.05)
    _, key = await make_key(await make_team())
    before = deaf_directory.query_count

    principals = await asyncio.gather(*(deaf_directory.authenticate(key) for _ in range(200)))

    assert len(set(map(id, principals))) == 1
    assert deaf_directory.query_count - before == 1


async def test_a_flood_of_wrong_keys_costs_few_queries_and_a_right_one_gets_through(
    deaf_directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    _, key = await make_key(await make_team())
    flood = [asyncio.ensure_future(deaf_directory.authenticate(new_key())) for _ in range(2_000)]
    await asyncio.sleep(0)

    started_s = time.monotonic()
    assert (await deaf_directory.authenticate(key)).key_prefix == key[:11]
    assert time.monotonic() - started_s < 1
    answers = await asyncio.gather(*flood, return_exceptions=True)

    assert {type(answer) for answer in answers} == {AuthenticationError}
    assert deaf_directory.query_count <= 2_000 / ASKED_AT_ONCE_MAX + 3


async def test_more_waiters_than_the_bound_are_told_to_come_again(
    deaf_directory: KeyDirectory,
) -> None:
    flood = [
        asyncio.ensure_future(deaf_directory.authenticate(new_key()))
        for _ in range(WAITING_MAX + 10)
    ]
    answers = await asyncio.gather(*flood, return_exceptions=True)

    kinds = [type(answer) for answer in answers]
    assert kinds[-10:] == [LedgerUnavailableError] * 10
    assert set(kinds[:-10]) == {AuthenticationError}


async def test_a_wrong_key_that_repeats_itself_is_asked_for_once_in_a_while(
    deaf_directory: KeyDirectory, clock: FakeClock
) -> None:
    key = new_key()
    for _ in range(20):
        await refused(deaf_directory.authenticate(key))
    assert deaf_directory.query_count == 1

    clock.advance(UNKNOWN_TTL_S)
    await refused(deaf_directory.authenticate(key))
    assert deaf_directory.query_count == 2


async def test_a_waiter_that_leaves_does_not_take_the_others_with_it(
    deaf_directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    _, key = await make_key(await make_team())
    first = asyncio.ensure_future(deaf_directory.authenticate(key))
    second = asyncio.ensure_future(deaf_directory.authenticate(key))
    await asyncio.sleep(0)
    first.cancel()

    assert (await second).key_prefix == key[:11]
    assert first.cancelled()


async def test_a_known_key_works_through_an_outage_and_an_unknown_one_is_not_let_in(
    database_url: str, proxy: FlakyTcp, clock: FakeClock, make_team: MakeTeam, make_key: MakeKey
) -> None:
    team_id = await make_team()
    (_, known_key), (_, other) = await make_key(team_id), await make_key(team_id)
    async with directory_at(proxy.postgres_url(database_url), clock) as directory:
        await known(directory, known_key)
        proxy.refuse()

        for _ in range(3):
            assert directory.find(known_key) is not None
            for key in (other, new_key()):
                with pytest.raises(LedgerUnavailableError) as caught:
                    await directory.authenticate(key)
                assert (caught.value.status, caught.value.is_retryable) == (503, True)
            await asyncio.sleep(0.3)

        await proxy.restore()
        async with asyncio.timeout(5):
            while directory.find(other) is None:
                try:
                    await directory.authenticate(other)
                except LedgerUnavailableError:
                    await asyncio.sleep(0.02)
        await refused(directory.authenticate(new_key()))


async def test_a_key_revoked_while_the_line_was_down_fails_once_it_is_back(
    database_url: str,
    database: Connection,
    proxy: FlakyTcp,
    clock: FakeClock,
    make_team: MakeTeam,
    make_key: MakeKey,
) -> None:
    key_id, key = await make_key(await make_team())
    async with directory_at(proxy.postgres_url(database_url), clock, listens=False) as directory:
        await directory.authenticate(key)
        proxy.refuse()
        await revoke(database, key_id)
        await asyncio.sleep(0.2)
        assert directory.find(key) is not None
        await proxy.restore()

        await eventually(lambda: directory.find(key) is None, within_s=2)


async def test_a_database_that_hangs_is_not_waited_for(
    database_url: str, proxy: FlakyTcp, clock: FakeClock, make_team: MakeTeam, make_key: MakeKey
) -> None:
    (_, known_key), (_, other) = (
        await make_key(team_id := await make_team()),
        await make_key(team_id),
    )
    async with directory_at(proxy.postgres_url(database_url), clock, listens=False) as directory:
        await known(directory, known_key)
        proxy.freeze()

        started_s = time.monotonic()
        with pytest.raises(LedgerUnavailableError):
            await directory.authenticate(other)
        assert time.monotonic() - started_s < ASK_TIMEOUT_S + 0.5
        assert directory.find(known_key) is not None


async def test_a_lost_connection_is_made_anew_without_anyone_noticing(
    deaf_directory: KeyDirectory, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    _, key = await make_key(await make_team())
    await refused(deaf_directory.authenticate(new_key()))
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'tests-keys'"
    )

    assert (await deaf_directory.authenticate(key)).key_prefix == key[:11]


async def test_a_schema_without_the_function_lets_nobody_in(
    empty_database_url: str, clock: FakeClock
) -> None:
    async with directory_at(empty_database_url, clock, listens=False) as directory:
        with pytest.raises(LedgerUnavailableError):
            await directory.authenticate(new_key())


async def test_an_odd_notification_has_everything_verified(
    directory: KeyDirectory, make_team: MakeTeam, make_key: MakeKey
) -> None:
    _, key = await make_key(await make_team())
    await known(directory, key)
    before = directory.query_count
    directory.on_key_changed("what is this")

    await eventually(lambda: directory.query_count > before, within_s=0.4)
    assert directory.find(key) is not None


async def test_memory_is_bounded(
    database_url: str, clock: FakeClock, make_team: MakeTeam, make_key: MakeKey
) -> None:
    team_id = await make_team()
    keys = [(await make_key(team_id))[1] for _ in range(4)]
    async with directory_at(database_url, clock, listens=False, keys_max=2) as directory:
        for key in keys:
            await directory.authenticate(key)

        assert [directory.find(key) is not None for key in keys] == [False, False, True, True]


async def test_after_the_end_nobody_waits_for_an_answer(
    database_url: str, proxy: FlakyTcp, clock: FakeClock
) -> None:
    async with directory_at(proxy.postgres_url(database_url), clock, listens=False) as directory:
        proxy.freeze()
        waiting = asyncio.ensure_future(directory.authenticate(new_key()))
        await asyncio.sleep(0.05)
        await directory.close()

        with pytest.raises(LedgerUnavailableError):
            await waiting
        with pytest.raises(LedgerUnavailableError):
            await directory.authenticate(new_key())


async def test_no_key_is_ever_logged(
    database_url: str, proxy: FlakyTcp, clock: FakeClock, make_team: MakeTeam, make_key: MakeKey
) -> None:
    _, key = await make_key(await make_team())
    wrong = new_key()
    with capture_logs() as logs:
        async with directory_at(
            proxy.postgres_url(database_url), clock, listens=False
        ) as directory:
            await directory.authenticate(key)
            await refused(directory.authenticate(wrong))
            proxy.refuse()
            with pytest.raises(LedgerUnavailableError):
                await directory.authenticate(new_key())

    assert [log["event"] for log in logs] == ["keys.database_unavailable"]
    assert key[11:] not in str(logs)
    assert wrong[11:] not in str(logs)
