"""The close of a month: what stops it, what it freezes, and where late entries go, exactly once."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest

from gateway.domain.clock import month_of
from gateway.domain.entry import Amounts
from gateway.domain.ids import TeamId, new_entry_id
from gateway.domain.usage import Usage, UsageSource
from gateway.ledger.columns import columns_of
from gateway.ledger.posting import QUERIES
from gateway.postgres.connection import connect
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import consumed, dead_letters, lease, rows, spend, usd
from tests.fakes.settlements import settlement

WRITER = uuid4()
NOW = month_of(datetime.now(UTC))
LAST = (NOW - timedelta(days=1)).replace(day=1)
BEFORE = (LAST - timedelta(days=1)).replace(day=1)
ONE = usd([settlement()])
REOPEN = (
    "UPDATE ledger.accounting_period SET status = 'open', entry_count = NULL, total_usd = NULL, "
    "digest = NULL, closed_at = NULL, closed_by = NULL WHERE month = $1"
)
NOT_NOW = asyncpg.ObjectNotInPrerequisiteStateError


def late(month=LAST, **changes):
    return settlement(month=month, **changes)


async def post(connection, settlements, writer_id=WRITER):
    entries = [s.entry for s in settlements]
    found = await connection.fetch(QUERIES["post_entries"], writer_id, *columns_of(entries))
    return sum(row["inserted"] for row in found)


async def close(connection, month=LAST):
    return await connection.fetchrow("SELECT * FROM ledger.close_month($1)", month)


async def is_balanced(connection):
    return await connection.fetchval("SELECT bool_and(balanced) FROM ledger.reconciliation")


@pytest.fixture
async def make_connections(database_url):
    made = []

    async def make(count):
        for _ in range(count):
            made.append(await connect(database_url, application_name="tests"))
        return made

    yield make
    for connection in made:
        await connection.close()


async def test_a_close_freezes_the_count_the_sum_and_a_digest(database):
    await post(database, [late() for _ in range(5)] + [late(team_id=TeamId(8))])
    closed = await close(database)
    assert closed["status"] == "closed"
    assert closed["entry_count"] == 6
    assert closed["total_usd"] == 6 * ONE
    assert len(closed["digest"]) == 32
    assert closed["closed_by"] == "gateway"
    assert closed["closed_at"] is not None
    digest = await database.fetchval("SELECT ledger.month_digest($1)", LAST)
    assert digest == closed["digest"]


async def test_an_empty_month_can_be_closed(database):
    closed = await close(database)
    assert (closed["entry_count"], closed["total_usd"]) == (0, 0)


@pytest.mark.parametrize("ahead", [0, 1])
async def test_a_month_that_is_not_over_is_not_closed(database, ahead):
    month = (NOW + timedelta(days=31 * ahead)).replace(day=1)
    with pytest.raises(NOT_NOW, match="is not over"):
        await close(database, month)


async def test_a_month_is_closed_once_and_never_opened_again(database):
    await close(database)
    with pytest.raises(NOT_NOW, match="closed already"):
        await close(database)
    for statement in (
        REOPEN,
        "UPDATE ledger.accounting_period SET total_usd = 0 WHERE month = $1",
        "DELETE FROM ledger.accounting_period WHERE month = $1",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await database.execute(statement, LAST)


async def test_something_that_is_no_month_is_not_closed(database):
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await close(database, LAST + timedelta(days=1))


async def test_totals_that_differ_from_their_rows_stop_a_close(database):
    await post(database, [late()])
    await database.execute("UPDATE ledger.team_month_spend SET spend_usd = spend_usd + 1")
    with pytest.raises(NOT_NOW, match="does not reconcile"):
        await close(database)
    await database.execute("UPDATE ledger.team_month_spend SET spend_usd = spend_usd - 1")
    await close(database)


async def test_unresolved_dead_letters_stop_a_close_until_somebody_resolves_them(database):
    clock = FakeClock(datetime(LAST.year, LAST.month, 7, tzinfo=UTC))
    await database.execute(
        "SELECT ledger.put_dead_letter($1, $2, 'p', 'e')", WRITER, new_entry_id(clock)
    )
    with pytest.raises(NOT_NOW, match="1 unresolved dead letters"):
        await close(database)
    await database.execute("UPDATE ledger.dead_letter SET resolved_at = now(), resolution = 'r'")
    await close(database)


async def test_a_dead_letter_of_a_later_month_does_not_stop_a_close(database):
    clock = FakeClock(datetime(NOW.year, NOW.month, 1, tzinfo=UTC))
    await database.execute(
        "SELECT ledger.put_dead_letter($1, $2, 'p', 'e')", WRITER, new_entry_id(clock)
    )
    await close(database)


@pytest.mark.parametrize("entry_id", [None, "no id", "7cce3534-dd9d-4df6-9af0-4342b25c4e31"])
async def test_a_dead_letter_of_nobody_knows_when_stops_a_close(database, entry_id):
    await database.execute("SELECT ledger.put_dead_letter($1, $2, 'p', 'e')", WRITER, entry_id)
    with pytest.raises(NOT_NOW, match="dead letters"):
        await close(database)


async def test_a_close_waits_for_posts_under_way_and_counts_them(database, make_connections):
    poster, closer = await make_connections(2)
    under_way = poster.transaction()
    await under_way.start()
    await post(poster, [late()])
    closing = asyncio.create_task(close(closer))
    await asyncio.sleep(0.2)
    assert not closing.done()
    await under_way.commit()
    assert (await closing)["entry_count"] == 1


async def test_a_finance_admin_closes_and_a_reader_does_not(database):
    await database.execute("SET ROLE finance_reader")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await close(database)
    await database.execute("SET ROLE finance_admin")
    assert (await close(database))["status"] == "closed"


async def test_a_digest_covers_every_column_of_an_entry(database):
    source = await database.fetchval(
        "SELECT prosrc FROM pg_proc WHERE oid = 'ledger.month_digest'::regproc"
    )
    columns = await database.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'ledger.ledger_entry'::regclass "
        "AND attnum > 0 AND NOT attisdropped"
    )
    assert [row["attname"] for row in columns if f"e.{row['attname']}" not in source] == []


async def test_a_row_that_a_superuser_changes_changes_the_digest(database):
    await post(database, [late() for _ in range(3)])
    closed = await close(database)
    await database.execute("ALTER TABLE ledger.ledger_entry DISABLE TRIGGER immutable")
    await database.execute("UPDATE ledger.ledger_entry SET provider_response_id = 'forged'")
    assert await database.fetchval("SELECT ledger.month_digest($1)", LAST) != closed["digest"]


async def test_a_digest_is_the_same_whatever_the_session_says(database):
    await post(database, [late(detail={"n": 1.5}) for _ in range(3)])
    closed = await close(database)
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "bytea_output = 'escape'"):
        await database.execute(f"SET {setting}")
    assert await database.fetchval("SELECT ledger.month_digest($1)", LAST) == closed["digest"]


async def test_a_late_entry_is_a_correction_in_the_open_month_once(database):
    before = [late()]
    await post(database, before)
    closed = await close(database)
    came_late = [late() for _ in range(3)]
    await lease(database, WRITER, 7, LAST)
    assert await post(database, came_late + before) == 3
    for _ in range(3):
        assert await post(database, came_late) == 0
        assert await post(database, [*before, *came_late, *came_late]) == 0
    corrections = await rows(database, where="service_month IS NOT NULL")
    assert {row["entry_id"] for row in corrections} == {s.entry.entry_id for s in came_late}
    for row in corrections:
        assert (row["month"], row["service_month"]) == (NOW, LAST)
        assert row["entry_type"] == "usage"
    assert await spend(database, 7, LAST) == ONE
    assert await spend(database, 7, NOW) == 3 * ONE
    assert await is_balanced(database)
    assert await database.fetchval("SELECT ledger.month_digest($1)", LAST) == closed["digest"]
    # A hold was leased in the month of its request.
    assert await consumed(database, WRITER) == {7: 3 * ONE}
    assert await dead_letters(database) == []


async def test_late_entries_pass_over_every_closed_month(database):
    await close(database, BEFORE)
    await close(database, LAST)
    assert await post(database, [late(BEFORE), late(LAST), late(NOW)]) == 3
    found = {(row["service_month"], row["month"]) for row in await rows(database)}
    assert found == {(BEFORE, NOW), (LAST, NOW), (None, NOW)}
    assert await is_balanced(database)


async def test_a_late_entry_replayed_after_its_posting_month_closed_too_counts_once(database):
    """The replay finds it over all months, not only in the one that is open now."""
    await close(database, BEFORE)
    one = late(BEFORE)
    assert await post(database, [one]) == 1
    (row,) = await rows(database)
    assert row["month"] == LAST
    await close(database, LAST)
    assert await post(database, [one]) == 0
    assert len(await rows(database)) == 1


async def test_an_entry_posted_before_the_close_and_replayed_after_it_counts_once(database):
    one = late()
    assert await post(database, [one]) == 1
    await close(database)
    assert await post(database, [one]) == 0
    assert len(await rows(database)) == 1


async def test_six_replays_of_late_entries_at_once_count_once(database, make_connections):
    await close(database)
    sent = [late(team_id=TeamId(n % 3 + 1)) for n in range(60)]
    inserted = await asyncio.gather(
        *(post(connection, sent) for connection in await make_connections(6))
    )
    assert sum(inserted) == 60
    assert len(await rows(database)) == 60
    assert await is_balanced(database)


async def test_posts_and_a_close_at_once_book_every_row_once(database, make_connections):
    connections = await make_connections(5)
    sent = [[late() for _ in range(40)] for _ in range(4)]

    async def run(connection, batch):
        for start in range(0, 40, 5):
            await post(connection, batch[start : start + 5])
            await post(connection, batch[:start])

    *_, closed = await asyncio.gather(
        *(run(c, batch) for c, batch in zip(connections, sent, strict=False)),
        close(connections[4]),
    )
    found = await rows(database, "entry_id, month")
    assert len(found) == 160
    in_time = [row for row in found if row["month"] == LAST]
    assert len(in_time) == closed["entry_count"]
    assert await database.fetchval("SELECT ledger.month_digest($1)", LAST) == closed["digest"]
    assert await is_balanced(database)


@pytest.mark.parametrize("closed_before", ["the estimate", "the truth"])
async def test_a_truth_about_a_closed_month_is_booked_in_the_open_one_once(database, closed_before):
    estimate = late(
        usage_source=UsageSource.ESTIMATED,
        usage=Usage(),
        amounts=Amounts(request_pico_usd=50_000_000_000),
    )
    truth = late(entry_id=estimate.entry.entry_id)
    if closed_before == "the estimate":
        await close(database)
    await post(database, [estimate])
    if closed_before == "the truth":
        await close(database)
    for _ in range(3):
        await post(database, [truth])
        await post(database, [estimate])
    estimated, adjustment = await rows(database)
    assert estimated["amount_usd"] == Decimal("0.05")
    assert adjustment["month"] == NOW
    assert adjustment["amount_usd"] == ONE - Decimal("0.05")
    assert await is_balanced(database)
    assert sum(row["amount_usd"] for row in await rows(database)) == ONE


async def test_no_adjustment_goes_into_a_closed_month(database, make_team):
    team_id = await make_team()
    await close(database)
    book = "SELECT ledger.post_adjustment($1, 'adjustment', $2, $3, 1, 'because')"
    with pytest.raises(NOT_NOW, match="is closed"):
        await database.execute(book, uuid4(), LAST, team_id)
    await database.execute(book, uuid4(), NOW, team_id)


async def test_a_poison_row_of_a_closed_month_leaves_no_trace_of_being_late(database):
    await close(database)
    bad = late(usage=Usage(output_tokens=-1))
    with pytest.raises(asyncpg.CheckViolationError):
        await post(database, [bad])
    assert await database.fetchval("SELECT count(*) FROM ledger.late_entry") == 0


async def test_a_close_does_not_keep_posts_of_new_months_waiting(database, make_connections):
    """The digest of a large month takes a minute; a month made meanwhile must not wait for it."""
    closer, poster = await make_connections(2)
    under_way = closer.transaction()
    await under_way.start()
    await close(closer)
    async with asyncio.timeout(2):
        assert await post(poster, [settlement(month=NOW.replace(year=NOW.year + 5))]) == 1
    await under_way.commit()
