"""What `gateway doctor` asks the database: schema, partitions ahead, clock, prices, letters."""

from gateway.cli.database_words import told
from gateway.cli.doctor_checks import Check
from gateway.domain.clock import SystemClock
from gateway.postgres.connection import Connection, connect
from gateway.postgres.errors import INFRASTRUCTURE_ERRORS
from gateway.postgres.migrate import UnknownRevisionError, schema_is_current

_SKEW_S_MAX = 1.0
_FACTS = """
SELECT current_setting('server_version') AS version,
       current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS is_durable,
       pg_is_in_recovery() AS is_standby, clock_timestamp() AS now
"""
_LEDGER = """
SELECT to_regclass('ledger.ledger_entry_'
           || to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')) IS NOT NULL AS has_this_month,
       to_regclass('ledger.ledger_entry_'
           || to_char((now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYYMM')) IS NOT NULL
           AS has_next_month,
       (SELECT count(*) FROM ledger.dead_letter WHERE resolved_at IS NULL) AS letters,
       (SELECT count(*) FROM ledger.price WHERE is_published) AS prices
"""


async def checked_database(url: str, *, is_embedded: bool) -> list[Check]:
    """All checks of a database that can be reached, or the one that says why it cannot."""
    try:
        is_current, unknown = await _schema_is_current(url)
        connection = await connect(url, application_name="gateway-doctor")
        try:
            checks = await _server(connection, is_embedded=is_embedded)
            checks.append(unknown or _schema(is_current=is_current, is_embedded=is_embedded))
            if is_current:
                checks += await _ledger(connection)
        finally:
            await connection.close()
    except INFRASTRUCTURE_ERRORS as exc:
        return [Check(name="database", state="fail", detail=told(exc)[0])]
    return checks


async def _server(connection: Connection, *, is_embedded: bool) -> list[Check]:
    clock = SystemClock()
    before_s = clock.monotonic_s()
    row = await connection.fetchrow(_FACTS)
    assert row is not None
    round_trip_s = clock.monotonic_s() - before_s
    skew_s = abs((clock.now() - row["now"]).total_seconds()) - round_trip_s
    where = "embedded" if is_embedded else "GATEWAY_DATABASE_URL"
    return [
        Check(
            name="database",
            state="fail" if row["is_standby"] else "ok",
            detail=f"PostgreSQL {row['version']}, {where}, {round_trip_s * 1000:.1f} ms"
            + (": a standby, which takes no entries" if row["is_standby"] else ""),
        ),
        Check(
            name="durability",
            state="ok" if row["is_durable"] else "warn",
            detail="fsync and full_page_writes are on"
            if row["is_durable"]
            else "fsync or full_page_writes is off: a power cut can lose entries",
        ),
        Check(
            name="clock",
            state="ok" if skew_s <= _SKEW_S_MAX else "fail",
            detail=f"{max(skew_s, 0):.3f} s from the database's"
            + ("" if skew_s <= _SKEW_S_MAX else ": months would begin apart; synchronise both"),
        ),
    ]


async def _schema_is_current(url: str) -> tuple[bool, Check | None]:
    """And, of a database that is ahead of this release, what is to be said of that."""
    try:
        return await schema_is_current(url), None
    except UnknownRevisionError as exc:
        return False, Check(name="schema", state="fail", detail=str(exc))


def _schema(*, is_current: bool, is_embedded: bool) -> Check:
    if is_current:
        return Check(name="schema", state="ok", detail="current")
    if is_embedded:
        return Check(name="schema", state="warn", detail="outdated; the next start migrates it")
    return Check(name="schema", state="fail", detail="outdated: run `gateway migrate`")


async def _ledger(connection: Connection) -> list[Check]:
    row = await connection.fetchrow(_LEDGER)
    assert row is not None
    has_both = row["has_this_month"] and row["has_next_month"]
    return [
        Check(
            name="partitions",
            state="ok" if has_both else "warn",
            detail="this month's and the next one's are there"
            if has_both
            else "this month's or the next one's is not there yet: the next entry makes it",
        ),
        Check(
            name="dead letters",
            state="fail" if row["letters"] else "ok",
            detail=f"{row['letters']} unresolved: `gateway ledger verify` shows them"
            if row["letters"]
            else "none",
        ),
        Check(
            name="prices",
            state="ok" if row["prices"] else "warn",
            detail=f"{row['prices']} published rows in ledger.price"
            if row["prices"]
            else "no published rows for people to read: `gateway migrate` fills them in",
        ),
    ]
