"""What the database itself refuses and allows, to whom: guards, audit, corrections, roles."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from gateway.ledger.columns import columns_of
from gateway.ledger.posting import QUERIES
from gateway.postgres.connection import connect
from tests.fakes.ledger import MONTH, assert_balanced, rows, spend
from tests.fakes.settlements import settlement

WRITER = uuid4()
ROLES = ["gateway_writer", "finance_reader", "finance_admin", "budget_admin"]
DENIED = asyncpg.InsufficientPrivilegeError
REFUSED = asyncpg.RestrictViolationError


@asynccontextmanager
async def role(database, name):
    await database.execute(f"SET ROLE {name}")
    try:
        yield
    finally:
        await database.execute("RESET ROLE")


async def post(database, *settlements):
    entries = [s.entry for s in settlements]
    return await database.fetch(QUERIES["post_entries"], WRITER, *columns_of(entries))


@pytest.fixture
async def entry(database):
    one = settlement(team_id=1)
    await database.execute("INSERT INTO ledger.team (team_id, name) VALUES (1, 'growth')")
    await post(database, one)
    return one.entry


@pytest.fixture
async def everything(database, entry):
    """A row in each table that keeps its rows."""
    await database.execute("UPDATE ledger.team SET monthly_cap_usd = 5")
    await database.execute(
        "INSERT INTO ledger.price (provider, model, effective_from, input_usd_per_mtok, "
        "output_usd_per_mtok, source) VALUES ('a', 'm', now(), 1, 2, 'contract')"
    )
    await database.execute(
        "INSERT INTO ledger.late_entry VALUES (gen_random_uuid(), '2026-10-01', '2026-11-01')"
    )
    # A row without a partition of its own.
    await database.execute(
        "INSERT INTO ledger.ledger_entry (entry_id, month, team_id, occurred_at, entry_type, "
        "amount_usd, reason, recorded_by) VALUES "
        "(gen_random_uuid(), '1990-01-01', 1, now(), 'adjustment', 1, 'old', 'tests')"
    )
    await database.fetchval("SELECT ledger.put_dead_letter($1, 'x', 'payload', 'error')", WRITER)


KEPT = {
    "ledger_entry": "team_id",
    "ledger_entry_202611": "team_id",
    "ledger_entry_default": "team_id",
    "late_entry": "recorded_at",
    "cap_change": "reason",
    "price": "source",
}


@pytest.mark.parametrize("replication_role", ["origin", "replica", "local"])
@pytest.mark.parametrize("table", KEPT)
async def test_rows_are_never_updated_deleted_or_truncated_by_the_owner_either(
    database, everything, table, replication_role
):
    """The owner here is a superuser, whom no privilege binds."""
    await database.execute(f"SET session_replication_role = {replication_role}")
    column = KEPT[table]
    before = await database.fetch(f"SELECT * FROM ledger.{table}")
    assert before
    for statement in (
        f"UPDATE ledger.{table} SET {column} = {column}",
        f"DELETE FROM ledger.{table}",
        f"TRUNCATE ledger.{table}",
        f"TRUNCATE ledger.{table} CASCADE",
        f"WITH gone AS (DELETE FROM ledger.{table} RETURNING 1) SELECT count(*) FROM gone",
        f"MERGE INTO ledger.{table} USING (VALUES (1)) AS v ON true WHEN MATCHED THEN DELETE",
    ):
        with pytest.raises(REFUSED, match="never changed"):
            await database.execute(statement)
    assert await database.fetch(f"SELECT * FROM ledger.{table}") == before


async def test_an_upsert_cannot_change_an_entry(database, entry):
    with pytest.raises(REFUSED):
        await database.execute(
            "INSERT INTO ledger.ledger_entry SELECT * FROM ledger.ledger_entry "
            "ON CONFLICT (entry_id, month) DO UPDATE SET amount_usd = 0"
        )


async def test_a_partition_that_is_made_later_keeps_its_rows_too(database):
    await post(database, settlement(month=date(2034, 1, 1)))
    await database.execute("SET session_replication_role = replica")
    for statement in (
        "UPDATE ledger.ledger_entry_203401 SET team_id = 2",
        "DELETE FROM ledger.ledger_entry_203401",
        "TRUNCATE ledger.ledger_entry_203401",
        "UPDATE ledger.ledger_entry SET month = '2034-02-01'",
    ):
        with pytest.raises(REFUSED):
            await database.execute(statement)


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("table", KEPT)
async def test_no_role_changes_or_removes_a_row(database, everything, name, table):
    column = KEPT[table]
    async with role(database, name):
        for statement in (
            f"UPDATE ledger.{table} SET {column} = {column}",
            f"DELETE FROM ledger.{table}",
            f"TRUNCATE ledger.{table}",
            f"DROP TABLE ledger.{table}",
            f"ALTER TABLE ledger.{table} DISABLE TRIGGER ALL",
        ):
            with pytest.raises((DENIED, REFUSED)):
                await database.execute(statement)


async def test_owner_privileges_say_once_more_what_the_triggers_say(database):
    for table in KEPT:
        for privilege in ("UPDATE", "DELETE", "TRUNCATE"):
            granted = await database.fetchval(
                "SELECT count(*) FROM pg_class, aclexplode(relacl) AS a "
                "WHERE oid = $1::text::regclass AND a.privilege_type = $2",
                f"ledger.{table}",
                privilege,
            )
            assert granted == 0, (table, privilege)


async def test_a_team_is_archived_and_never_deleted_or_renumbered(database, entry):
    await database.execute("SET session_replication_role = replica")
    for statement in ("DELETE FROM ledger.team", "UPDATE ledger.team SET team_id = 2"):
        with pytest.raises(REFUSED):
            await database.execute(statement)
    await database.execute("UPDATE ledger.team SET archived_at = now()")


async def test_a_dead_letter_is_resolved_once_and_else_stays_as_it_came(database, everything):
    for statement in (
        "DELETE FROM ledger.dead_letter",
        "TRUNCATE ledger.dead_letter",
        "UPDATE ledger.dead_letter SET payload = 'nothing'",
        "UPDATE ledger.dead_letter SET error = 'none', resolved_at = now(), resolution = 'r'",
    ):
        with pytest.raises(REFUSED):
            await database.execute(statement)
    await database.execute("UPDATE ledger.dead_letter SET resolved_at = now(), resolution = 'paid'")
    letter = await database.fetchrow("SELECT * FROM ledger.dead_letter")
    assert (letter["resolution"], letter["resolved_by"]) == ("paid", "gateway")
    with pytest.raises(REFUSED):
        await database.execute("UPDATE ledger.dead_letter SET resolution = 'not paid'")


async def test_every_change_of_a_cap_is_in_the_audit_with_who_when_old_and_new(database):
    await database.execute("INSERT INTO ledger.team (name, monthly_cap_usd) VALUES ('growth', 25)")
    async with role(database, "budget_admin"):
        await database.execute("SELECT set_config('ledger.reason', 'launch', false)")
        await database.execute("UPDATE ledger.team SET monthly_cap_usd = 500")
        await database.execute("UPDATE ledger.team SET enforcement = 'shadow'")
        await database.execute("UPDATE ledger.team SET save_mode = 'on'")
        await database.execute(
            "INSERT INTO ledger.cap_override VALUES "
            "(1, '[2026-11-01Z,2026-11-08Z)', 900, 'launch week')"
        )
        await database.execute("DELETE FROM ledger.cap_override")
    audit = await database.fetch("SELECT * FROM ledger.cap_change ORDER BY cap_change_id")
    said = [(a["source"], a["operation"], a["old_cap_usd"], a["new_cap_usd"]) for a in audit]
    assert said == [
        ("team", "INSERT", None, 25),
        ("team", "UPDATE", 25, 500),
        ("team", "UPDATE", 500, 500),
        ("cap_override", "INSERT", None, 900),
        ("cap_override", "DELETE", 900, None),
    ]
    assert [a["new_enforcement"] for a in audit][:3] == ["hard", "hard", "shadow"]
    assert [a["reason"] for a in audit][1:4] == ["launch", "launch", "launch week"]
    assert {a["changed_by"] for a in audit} == {"gateway"}
    assert all(a["changed_at"] for a in audit)


async def test_overrides_of_a_team_may_not_overlap(database):
    await database.execute("INSERT INTO ledger.team (name) VALUES ('growth'), ('other')")
    insert = "INSERT INTO ledger.cap_override VALUES ($1, $2::text::tstzrange, 5, 'because')"
    await database.execute(insert, 1, "[2026-11-01Z,2026-11-08Z)")
    with pytest.raises(asyncpg.ExclusionViolationError):
        await database.execute(insert, 1, "[2026-11-07Z,2026-11-09Z)")
    await database.execute(insert, 1, "[2026-11-08Z,2026-11-09Z)")
    await database.execute(insert, 2, "[2026-11-07Z,2026-11-09Z)")


@pytest.mark.parametrize("cap", ["NaN", "Infinity", "-Infinity"])
async def test_a_cap_is_a_finite_number(database, cap):
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(
            "INSERT INTO ledger.team (name, monthly_cap_usd) VALUES ('growth', $1)", Decimal(cap)
        )


async def adjust(database, kind, amount, *, entry_id=None, related=None, month=MONTH, team_id=1):
    return await database.fetchval(
        "SELECT ledger.post_adjustment($1, $2, $3, $4, $5, 'because', $6)",
        entry_id or uuid4(),
        kind,
        month,
        team_id,
        Decimal(amount),
        related,
    )


async def test_a_correction_is_a_new_row_signed_and_in_the_total(database, entry):
    entry_id = uuid4()
    async with role(database, "finance_admin"):
        assert await adjust(
            database, "adjustment", "-0.01", entry_id=entry_id, related=entry.entry_id
        )
        # Sent again after an answer that was lost.
        assert not await adjust(
            database, "adjustment", "-0.01", entry_id=entry_id, related=entry.entry_id
        )
    _, row = await rows(database)
    assert (row["entry_type"], row["reason"], row["recorded_by"]) == (
        "adjustment", "because", "gateway",
    )  # fmt: skip
    assert row["related_entry_id"] == entry.entry_id
    assert row["request_model"] == entry.request_model
    assert await spend(database, 1) == Decimal("0.017187500007")
    assert await database.fetchval("SELECT bool_and(balanced) FROM ledger.reconciliation")


async def test_an_id_is_not_taken_for_another_correction(database, entry):
    entry_id = uuid4()
    await adjust(database, "adjustment", "1", entry_id=entry_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await adjust(database, "adjustment", "2", entry_id=entry_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await adjust(database, "adjustment", "1", entry_id=entry.entry_id)


async def test_a_reversal_takes_back_the_whole_of_an_entry_once(database, entry):
    whole = "-0.027187500007"
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await adjust(database, "reversal", "-0.01", related=entry.entry_id)
    assert await adjust(database, "reversal", whole, related=entry.entry_id)
    assert await spend(database, 1) == 0
    with pytest.raises(asyncpg.UniqueViolationError):
        await adjust(database, "reversal", whole, related=entry.entry_id)


async def test_two_reversals_of_an_entry_at_once_take_it_back_once(database, database_url, entry):
    whole = "-0.027187500007"
    other = await connect(database_url, application_name="tests")
    try:
        under_way = database.transaction()
        await under_way.start()
        assert await adjust(database, "reversal", whole, related=entry.entry_id)
        second = asyncio.create_task(adjust(other, "reversal", whole, related=entry.entry_id))
        await asyncio.sleep(0.2)
        assert not second.done()
        await under_way.commit()
        with pytest.raises(asyncpg.UniqueViolationError):
            await second
    finally:
        await other.close()
    assert await spend(database, 1) == 0


@pytest.mark.parametrize(
    ("kind", "amount", "team_id", "error"),
    [
        ("usage", "1", 1, asyncpg.InvalidParameterValueError),
        ("adjustment", "0", 1, asyncpg.InvalidParameterValueError),
        ("adjustment", "NaN", 1, asyncpg.InvalidParameterValueError),
        ("adjustment", "Infinity", 1, asyncpg.InvalidParameterValueError),
        ("adjustment", "0.0000000000001", 1, asyncpg.InvalidParameterValueError),
        ("adjustment", "1", 99, asyncpg.ForeignKeyViolationError),
        ("credit", "1", 1, asyncpg.CheckViolationError),
        ("reversal", "-1", 1, asyncpg.CheckViolationError),
    ],
)
async def test_a_correction_that_makes_no_sense_is_refused(
    database, entry, kind, amount, team_id, error
):
    with pytest.raises(error):
        await adjust(database, kind, amount, team_id=team_id)
    assert len(await rows(database)) == 1


async def test_a_correction_of_another_teams_entry_is_refused(database, entry):
    await database.execute("INSERT INTO ledger.team (team_id, name) VALUES (2, 'other')")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await adjust(database, "adjustment", "1", related=entry.entry_id, team_id=2)


READS = {
    "team", "cap_override", "cap_change", "ledger_entry", "team_month_spend", "accounting_period",
    "price", "late_entry", "dead_letter", "budget_status", "reconciliation",
    "spend_by_team_model_day", "focus_charge",
}  # fmt: skip
TABLES = {
    "gateway_writer": {
        "SELECT": {
            "team", "api_key", "cap_override", "team_month_spend", "ledger_entry",
            "accounting_period", "price", "budget_status",
        },
    },
    "finance_reader": {"SELECT": READS},
    "finance_admin": {"SELECT": READS},
    "budget_admin": {
        "SELECT": {"team", "cap_override", "cap_change", "team_month_spend", "budget_status"},
        "INSERT": {"cap_override"},
        "UPDATE": {"cap_override"},
        "DELETE": {"cap_override"},
    },
}  # fmt: skip
KEY_COLUMNS = {
    "api_key_id", "team_id", "key_prefix", "label", "may_override_budget", "allowed_models", "created_at",
    "revoked_at",
}  # fmt: skip
COLUMNS = {
    "gateway_writer": {},
    "finance_reader": {("api_key", "SELECT"): KEY_COLUMNS},
    "finance_admin": {
        ("api_key", "SELECT"): KEY_COLUMNS,
        ("dead_letter", "UPDATE"): {"resolved_at", "resolution"},
        ("price", "INSERT"): {
            "provider", "model", "effective_from", "input_usd_per_mtok", "output_usd_per_mtok",
            "cache_read_usd_per_mtok", "cache_write_5m_usd_per_mtok",
            "cache_write_1h_usd_per_mtok", "request_usd", "web_search_usd", "source",
        },
    },
    "budget_admin": {
        ("team", "UPDATE"): {"monthly_cap_usd", "enforcement", "warn_at", "engage_at", "save_mode"},
    },
}  # fmt: skip
FUNCTIONS = {
    "gateway_writer": {
        "post_entries", "put_dead_letter", "ensure_month", "lease_sync", "lease_sync_many",
        "lease_close", "lease_expire", "team_budgets", "cap_in_force", "held_usd", "find_key",
    },
    "finance_reader": {"cap_in_force", "held_usd", "month_digest"},
    "finance_admin": {
        "cap_in_force", "held_usd", "month_digest", "post_adjustment", "close_month",
    },
    "budget_admin": {"cap_in_force", "held_usd"},
}  # fmt: skip


@pytest.mark.parametrize("name", ROLES)
async def test_a_role_has_these_privileges_on_tables_and_no_others(database, name):
    found: dict[str, set[str]] = {}
    for row in await database.fetch(
        "SELECT c.relname, p.name FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', "
        "'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']) AS p (name) "
        "WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') "
        "AND has_table_privilege($1, c.oid, p.name)",
        name,
    ):
        found.setdefault(row["name"], set()).add(row["relname"])
    assert found == TABLES[name]


@pytest.mark.parametrize("name", ROLES)
async def test_a_role_has_these_privileges_on_columns_and_no_others(database, name):
    found: dict[tuple[str, str], set[str]] = {}
    for row in await database.fetch(
        "SELECT c.relname, p.name, a.attname FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped, "
        "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p (name) "
        "WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') "
        "AND has_column_privilege($1, c.oid, a.attnum, p.name) "
        "AND NOT has_table_privilege($1, c.oid, p.name)",
        name,
    ):
        found.setdefault((row["relname"], row["name"]), set()).add(row["attname"])
    assert found == COLUMNS[name]


@pytest.mark.parametrize("name", [*ROLES, "pg_monitor"])
async def test_a_role_may_call_these_functions_and_no_others(database, name):
    found = await database.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'ledger'::regnamespace "
        "AND has_function_privilege($1, oid, 'EXECUTE')",
        name,
    )
    assert {row["proname"] for row in found} == FUNCTIONS.get(name, set())


async def test_every_function_that_runs_as_the_owner_pins_its_search_path(database):
    """Or a caller's own schema could stand in front of the names in it."""
    found = await database.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'ledger'::regnamespace AND prosecdef "
        "AND NOT coalesce(array_to_string(proconfig, ',') LIKE "
        "'%search_path=pg_catalog, pg_temp%', false)"
    )
    assert [row["proname"] for row in found] == []


async def test_a_writer_posts_leases_and_reads_and_cannot_insert_an_entry_itself(
    database, make_team, make_key
):
    team_id = await make_team(cap_usd=25)
    await make_key(team_id)
    one = settlement(team_id=team_id)
    async with role(database, "gateway_writer"):
        await post(database, one)
        granted = await database.fetchrow(
            "SELECT * FROM ledger.lease_sync($1, $2, $3, 0, 0, 0, 1, 0, true, false, '1 min')",
            WRITER, team_id, MONTH,
        )  # fmt: skip
        assert granted["granted_usd"] == 1
        await database.execute("SELECT ledger.lease_close($1)", WRITER)
        await database.execute("SELECT ledger.put_dead_letter($1, NULL, 'p', 'e')", WRITER)
        await database.fetch("SELECT * FROM ledger.team_budgets(NULL, $1)", MONTH)
        await database.fetch("SELECT * FROM ledger.find_key('\\x00')")
        await database.fetch(QUERIES["settled_before"], [one.entry.entry_id], [MONTH])
        await database.fetch(QUERIES["team_names"], [team_id])
        for statement in (
            "INSERT INTO ledger.ledger_entry SELECT * FROM ledger.ledger_entry",
            "INSERT INTO ledger.team_month_spend VALUES (1, '2026-11-01', 0, 0)",
            "UPDATE ledger.team_month_spend SET spend_usd = 0",
            "UPDATE ledger.team SET monthly_cap_usd = 1e9",
            "UPDATE ledger.budget_lease SET granted_usd = 1e9",
            "INSERT INTO ledger.api_key (team_id, key_hash, key_prefix) VALUES (1, sha256('a'), 'a')",
            "UPDATE ledger.accounting_period SET status = 'open'",
            "SELECT ledger.close_month('2026-01-01')",
            "SELECT ledger.post_adjustment(gen_random_uuid(), 'credit', '2026-11-01', 1, -1, 'r')",
            "SELECT ledger.grant_roles()",
            "CREATE TABLE ledger.mine (n int)",
        ):
            with pytest.raises(DENIED):
                await database.execute(statement)
    await assert_balanced(database, [one])


async def test_finance_reads_everything_but_hashes_and_changes_nothing(database, everything):
    async with role(database, "finance_reader"):
        for table in READS:
            await database.fetch(f"SELECT * FROM ledger.{table}")
        await database.fetch("SELECT key_prefix, label FROM ledger.api_key")
        for statement in (
            "SELECT key_hash FROM ledger.api_key",
            "INSERT INTO ledger.ledger_entry SELECT * FROM ledger.ledger_entry",
            "UPDATE ledger.dead_letter SET resolved_at = now(), resolution = 'r'",
            "SELECT ledger.close_month('2026-01-01')",
            "UPDATE ledger.team SET monthly_cap_usd = 1",
        ):
            with pytest.raises(DENIED):
                await database.execute(statement)


async def test_finance_admins_correct_resolve_price_and_touch_no_cap(database, everything):
    async with role(database, "finance_admin"):
        assert await adjust(database, "credit", "-1")
        await database.execute(
            "UPDATE ledger.dead_letter SET resolved_at = now(), resolution = 'r'"
        )
        await database.execute(
            "INSERT INTO ledger.price (provider, model, effective_from, input_usd_per_mtok, "
            "output_usd_per_mtok, source) VALUES ('a', 'm', now(), 1, 3, 'contract')"
        )
        for statement in (
            "UPDATE ledger.team SET monthly_cap_usd = 1",
            "INSERT INTO ledger.cap_override VALUES (1, '[2026-11-01,2026-11-02)', 5, 'r')",
            "INSERT INTO ledger.price (created_by) VALUES ('somebody else')",
            "UPDATE ledger.dead_letter SET payload = ''",
            "UPDATE ledger.accounting_period SET status = 'open'",
        ):
            with pytest.raises(DENIED):
                await database.execute(statement)
    assert (await database.fetchrow("SELECT resolved_by FROM ledger.dead_letter"))[0] == "gateway"


async def test_budget_admins_change_caps_and_read_no_entries(database, everything):
    async with role(database, "budget_admin"):
        await database.execute("UPDATE ledger.team SET monthly_cap_usd = 500 WHERE name = 'growth'")
        await database.execute("SELECT * FROM ledger.budget_status")
        for statement in (
            "SELECT * FROM ledger.ledger_entry",
            "SELECT * FROM ledger.api_key",
            "UPDATE ledger.team SET name = 'mine'",
            "INSERT INTO ledger.team (name) VALUES ('mine')",
            "INSERT INTO ledger.cap_change (team_id, source, operation) VALUES (1, 'team', 'x')",
            "UPDATE ledger.team_month_spend SET spend_usd = 0",
        ):
            with pytest.raises(DENIED):
                await database.execute(statement)


async def test_somebody_without_a_role_sees_nothing(database, entry):
    async with role(database, "pg_monitor"):
        for table in READS | {"api_key", "budget_lease"}:
            with pytest.raises(DENIED):
                await database.execute(f"SELECT 1 FROM ledger.{table}")


async def test_views_show_what_the_rows_say(database, entry):
    status = await database.fetchrow("SELECT * FROM ledger.budget_status")
    assert (status["team"], status["status"]) == ("growth", "disabled")
    line = await database.fetchrow("SELECT * FROM ledger.spend_by_team_model_day")
    assert line["spend_usd"] == Decimal("0.027187500007")
    assert line["day"] == entry.occurred_at.date()
    focus = await database.fetch('SELECT "BilledCost" FROM ledger.focus_charge')
    assert sum(row["BilledCost"] for row in focus) == Decimal("0.027187500007")
    detail = await database.fetchval("SELECT detail FROM ledger.ledger_entry")
    assert json.loads(detail) == entry.detail
    assert str(UUID(entry.entry_id)) == entry.entry_id
