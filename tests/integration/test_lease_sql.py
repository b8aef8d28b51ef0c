"""Leases as the ledger keeps them: what is granted, to whom, and what ends. All in dollars."""

import asyncio
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from gateway.postgres.connection import connect

MONTH = date(2026, 11, 1)
ONE, OTHER = uuid4(), uuid4()
TEAM = 1


@pytest.fixture
async def team(database):
    await database.execute(
        "INSERT INTO ledger.team (team_id, name, monthly_cap_usd) VALUES ($1, 'growth', 10)", TEAM
    )
    return TEAM


async def sync(
    database,
    writer=ONE,
    *,
    committed="0",
    consumed="0",
    returned="0",
    want="0",
    least="0",
    is_exact=True,
    may_cross=False,
    ttl_s=60,
):
    amounts = [Decimal(amount) for amount in (committed, consumed, returned, want, least)]
    return await database.fetchrow(
        "SELECT * FROM ledger.lease_sync("
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, make_interval(secs => $11))",
        writer, TEAM, MONTH, *amounts, is_exact, may_cross, ttl_s,
    )  # fmt: skip


async def lease(database, writer=ONE):
    row = await database.fetchrow(
        "SELECT granted_usd, consumed_usd, returned_usd, state FROM ledger.budget_lease "
        "WHERE writer_id = $1",
        writer,
    )
    return None if row is None else tuple(row.values())


async def spend(database, amount):
    await database.execute(
        "INSERT INTO ledger.team_month_spend (team_id, month, spend_usd) VALUES ($1, $2, $3)",
        TEAM, MONTH, Decimal(amount),
    )  # fmt: skip


async def is_over(database, writer, since="1 second"):
    await database.execute(
        "UPDATE ledger.budget_lease SET expires_at = now() - $2::text::interval "
        "WHERE writer_id = $1",
        writer, since,
    )  # fmt: skip


async def test_counters_that_come_late_change_nothing(database, team):
    await sync(database, committed="5", consumed="3", returned="1")
    await sync(database, committed="2", consumed="1", returned="0")
    assert await lease(database) == (5, 3, 1, "active")


async def test_what_a_writer_is_bound_to_is_granted_whatever_the_cap(database, team):
    await sync(database, want="4")
    answer = await sync(database, committed="12")
    assert (answer["granted_usd"], answer["held_usd"]) == (12, 12)
    assert (await sync(database, want="1", least="1"))["granted_usd"] == 12


@pytest.mark.parametrize("end", ["expired", "marked", "closed"])
async def test_what_an_ended_lease_had_left_is_gone(database, team, end):
    await sync(database, want="8")
    await sync(database, committed="3", consumed="2", returned="1")
    if end == "closed":
        await database.execute("SELECT ledger.lease_close($1)", ONE)
    else:
        await is_over(database, ONE)
        if end == "marked":
            await database.execute("SELECT ledger.lease_expire()")
    assert (await sync(database, OTHER, want="10"))["granted_usd"] == 10
    answer = await sync(database, committed="3", consumed="2", returned="1")
    assert answer["granted_usd"] == 3
    assert await lease(database) == (3, 2, 1, "active")


async def test_no_more_is_granted_than_is_neither_spent_nor_held(database, team):
    await spend(database, "3")
    assert (await sync(database, OTHER, want="4"))["held_usd"] == 4
    answer = await sync(database, want="5")
    assert (answer["granted_usd"], answer["spend_usd"], answer["held_usd"]) == (3, 3, 7)
    assert (answer["cap_usd"], answer["writers"]) == (10, 2)
    assert (await sync(database, want="1", least="1"))["granted_usd"] == 3


@pytest.mark.parametrize(
    ("spent", "may_cross", "granted"),
    [("8", False, 0), ("8", True, 3), ("10", True, 0), ("11", True, 0), ("7", False, 3)],
)
async def test_a_hold_that_does_not_fit_is_granted_where_it_may_cross_and_there_is_room(
    database, team, spent, may_cross, granted
):
    await spend(database, spent)
    answer = await sync(database, want="3", least="3", may_cross=may_cross)
    assert answer["granted_usd"] == granted


async def test_a_slice_is_half_of_a_fair_share_and_a_hold_at_least(database, team):
    assert (await sync(database, want="100", is_exact=False))["granted_usd"] == 5
    answer = await sync(database, OTHER, want="100", is_exact=False)
    assert answer["granted_usd"] == Decimal("1.25")
    held = await sync(database, OTHER, committed="1.25", want="3", least="3", is_exact=False)
    assert held["granted_usd"] == Decimal("4.25")


async def test_an_overdrawn_lease_gives_nobody_room(database, team):
    await sync(database, OTHER, want="1")
    await database.execute("UPDATE ledger.budget_lease SET consumed_usd = 4")
    answer = await sync(database, want="20")
    assert (answer["granted_usd"], answer["held_usd"]) == (10, 10)


async def test_a_team_without_a_cap_is_granted_nothing_more(database, team):
    for cap in (None, 0):
        await database.execute("UPDATE ledger.team SET monthly_cap_usd = $1", cap)
        assert (await sync(database, want="1", least="1", may_cross=True))["granted_usd"] == 0


@pytest.mark.parametrize(
    "ask",
    [
        {"committed": "NaN"},
        {"consumed": "NaN"},
        {"returned": "NaN"},
        {"want": "NaN"},
        {"least": "NaN"},
        {"want": "Infinity"},
        {"least": "Infinity"},
        {"want": "-1"},
        {"least": "-1"},
        {"ttl_s": 0},
        {"ttl_s": -1},
    ],
    ids=str,
)
async def test_what_is_no_amount_is_not_asked_for(database, team, ask):
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await sync(database, **ask)
    assert await lease(database) is None


async def test_grants_of_a_team_wait_for_each_other(database, database_url, team):
    other = await connect(database_url, application_name="tests")
    try:
        under_way = database.transaction()
        await under_way.start()
        assert (await sync(database, want="10"))["granted_usd"] == 10
        second = asyncio.create_task(sync(other, OTHER, want="10"))
        await asyncio.sleep(0.2)
        assert not second.done()
        await under_way.commit()
        assert (await second)["granted_usd"] == 0
    finally:
        await other.close()


async def test_a_writers_end_closes_its_own_leases_alone(database, team):
    await sync(database, want="1")
    await sync(database, OTHER, want="1")
    assert await database.fetchval("SELECT ledger.lease_close($1)", ONE) == 1
    assert (await lease(database))[3] == "closed"
    assert (await lease(database, OTHER))[3] == "active"


async def test_only_what_is_over_expires_and_only_what_is_long_over_is_forgotten(database, team):
    writers: list[UUID] = [uuid4() for _ in range(3)]
    for writer in writers:
        await sync(database, writer, want="1")
    await is_over(database, writers[0])
    await is_over(database, writers[1], "8 days")
    assert await database.fetchval("SELECT ledger.lease_expire()") == 2
    await database.execute("SELECT ledger.lease_expire()")
    states = [await lease(database, writer) for writer in writers]
    assert [state and state[3] for state in states] == ["expired", None, "active"]


async def test_what_is_held_is_what_leases_that_still_run_have_left(database, team):
    await sync(database, want="4")
    await database.execute("UPDATE ledger.budget_lease SET consumed_usd = 1, returned_usd = 1")
    for writer in (OTHER, uuid4()):
        await sync(database, writer, want="1")
    await is_over(database, OTHER)

    async def held():
        return [
            await database.fetchval("SELECT ledger.held_usd($1, $2)", TEAM, MONTH),
            await database.fetchval("SELECT held_usd FROM ledger.team_budgets(NULL, $1)", MONTH),
        ]

    assert await held() == [3, 3]
    await database.execute("SELECT ledger.lease_close($1)", ONE)
    assert await held() == [1, 1]


@pytest.mark.parametrize(
    ("overrides", "cap", "change"),
    [
        ([], 10, None),
        ([("-1 hour", "1 hour", 50)], 50, "1 hour"),
        ([("-2 hours", "-1 hour", 50)], 10, None),
        ([("1 hour", "2 hours", 50)], 10, "1 hour"),
        ([("-1 hour", "2 hours", 50), ("3 hours", "4 hours", 60)], 50, "2 hours"),
        ([("2 hours", "3 hours", 50), ("1 hour", "2 hours", 60)], 10, "1 hour"),
        ([("-1 hour", "infinity", 50)], 50, None),
    ],
)
async def test_the_cap_in_force_and_when_it_changes_by_itself(
    database, team, overrides, cap, change
):
    async with database.transaction():
        for start, end, amount in overrides:
            await database.execute(
                "INSERT INTO ledger.cap_override (team_id, valid, cap_usd, reason) VALUES ($1, "
                "tstzrange(now() + $2::text::interval, CASE $3::text WHEN 'infinity' THEN NULL "
                "ELSE now() + $3::text::interval END), $4, 'because')",
                TEAM, start, end, Decimal(amount),
            )  # fmt: skip
        found = await database.fetchrow(
            "SELECT cap_usd, next_change_at - now() AS change, $2::text::interval AS expected "
            "FROM ledger.cap_in_force($1, now())",
            TEAM, change,
        )  # fmt: skip
    assert found["cap_usd"] == cap
    assert found["change"] == found["expected"]
