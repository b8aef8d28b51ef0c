import csv
import io
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest

from gateway.domain.entry import Amounts
from gateway.domain.ids import ApiKeyId, TeamId
from gateway.domain.usage import Usage
from gateway.postgres.connection import Connection
from tests.fakes.command import gateway, gateways, ran
from tests.fakes.months import LAST_MONTH, THIS_MONTH, noon, text
from tests.fakes.posted import posted
from tests.fakes.settlements import settlement
from tests.fixtures.database import MakeKey, MakeTeam

LAST, THIS = text(LAST_MONTH), text(THIS_MONTH)


async def three_entries(url: str, make_team: MakeTeam, make_key: MakeKey) -> Decimal:
    """Two teams' entries of last month, and one of this month; returns last month's sum."""
    growth, data = await make_team("growth"), await make_team("data, and more")
    keys = {team: (await make_key(team))[0] for team in (growth, data)}
    entries = [
        settlement(
            team_id=TeamId(team),
            api_key_id=ApiKeyId(keys[team]),
            month=month,
            occurred_at=noon(month, day),
            amounts=Amounts(input_pico_usd=1_234_567_890_123, output_pico_usd=1),
            usage=Usage(input_uncached_tokens=411, output_tokens=3),
            is_leased=False,
            detail={"rates": {"input": "3"}},
        ).entry
        for team, month, day in (
            (growth, LAST_MONTH, 3),
            (data, LAST_MONTH, 4),
            (growth, THIS_MONTH, 1),
        )
    ]
    await posted(url, entries)
    return Decimal("2.469135780248")


async def test_an_export_in_every_format_adds_up_to_the_ledger(
    database_url: str, tmp_path: Path, make_team: MakeTeam, make_key: MakeKey
) -> None:
    total_usd = await three_entries(database_url, make_team, make_key)
    parquet, focus = tmp_path / "month.parquet", tmp_path / "focus.csv"

    to_csv, to_json, to_parquet, to_focus, to_pipe = await gateways(
        f"ledger export --month {LAST} --format csv",
        f"ledger export --month {LAST} --format csv --json",
        f"ledger export --month {LAST} --format parquet --output {parquet} --json",
        f"ledger export --month {LAST} --format focus --output {focus}",
        f"ledger export --month {LAST} --format parquet",
        GATEWAY_DATABASE_URL=database_url,
    )

    assert {each.status for each in (to_csv, to_json, to_parquet, to_focus, to_pipe)} == {0}
    rows = list(csv.DictReader(io.StringIO(to_csv.stdout.decode())))
    assert sum(Decimal(row["amount_usd"]) for row in rows) == total_usd
    assert [row["team"] for row in rows if row["team"] != "growth"] == ["data, and more"]
    assert {row["entry_id"] for row in rows} == {row["entry_id"] for row in to_json.document}
    assert {row["amount_usd"] for row in to_json.document} == {"1.234567890124"}
    table = pyarrow.parquet.read_table(parquet)
    assert sum(table["amount_usd"].to_pylist()) == total_usd
    assert table["occurred_at"].to_pylist()[0].tzinfo is not None
    assert table["input_uncached_tokens"].to_pylist() == [411, 411]
    assert pyarrow.parquet.read_table(io.BytesIO(to_pipe.stdout)).equals(table)
    assert to_parquet.document == {
        "month": LAST,
        "format": "parquet",
        "rows": 2,
        "output": str(parquet),
    }
    charges = list(csv.DictReader(io.StringIO(focus.read_text())))
    assert sum(Decimal(charge["BilledCost"]) for charge in charges) == total_usd
    assert {charge["ServiceCategory"] for charge in charges} == {"AI and Machine Learning"}
    assert to_csv.stderr == to_focus.stderr == ""
    assert sorted(each.name for each in tmp_path.iterdir()) == ["focus.csv", "month.parquet"]


async def test_an_export_that_cannot_be_written_says_so_and_leaves_nothing(
    database_url: str, tmp_path: Path
) -> None:
    nowhere = tmp_path / "missing" / "month.csv"

    failed, empty = await gateways(
        f"ledger export --month {LAST} --format csv --output {nowhere}",
        f"ledger export --month {LAST} --format parquet --output {tmp_path / 'none.parquet'}",
        GATEWAY_DATABASE_URL=database_url,
    )

    assert (failed.status, len(failed.lines)) == (1, 1)
    assert str(nowhere) in failed.stderr
    assert empty.status == 0
    table = pyarrow.parquet.read_table(tmp_path / "none.parquet")
    assert (table.num_rows, table.column_names[0]) == (0, "entry_id")
    assert [each.name for each in tmp_path.iterdir()] == ["none.parquet"]


async def test_spend_comes_by_team_model_key_product_and_day_in_every_format(
    database_url: str, tmp_path: Path, make_team: MakeTeam, make_key: MakeKey
) -> None:
    total_usd = await three_entries(database_url, make_team, make_key)

    by_team, by_day, by_product, as_parquet, as_table, empty = await gateways(
        f"spend --month {LAST} --json",
        f"spend --month {LAST} --by day --format csv",
        f"spend --month {LAST} --by product --format json",
        f"spend --month {LAST} --by key --format parquet --output {tmp_path / 'spend.parquet'}",
        f"spend --month {LAST} --by model",
        "spend --month 2001-01 --format csv",
        GATEWAY_DATABASE_URL=database_url,
    )

    assert {row["team"]: row["spend_usd"] for row in by_team.document} == {
        "growth": "1.234567890124",
        "data, and more": "1.234567890124",
    }
    days = list(csv.DictReader(io.StringIO(by_day.stdout.decode())))
    assert [row["day"] for row in days] == [f"{LAST}-03", f"{LAST}-04"]
    assert sum(Decimal(row["spend_usd"]) for row in days) == total_usd
    assert by_product.document[0]["product"] == "posthog_code"
    assert Decimal(by_product.document[0]["spend_usd"]) == total_usd
    table = pyarrow.parquet.read_table(tmp_path / "spend.parquet")
    assert table.column_names == ["key", "entries", "input_tokens", "output_tokens", "spend_usd"]
    assert sum(table["spend_usd"].to_pylist()) == total_usd
    assert as_parquet.stdout == b""
    assert "claude-opus-4-5-20251101" in as_table.stdout.decode()
    assert empty.stdout == b"team,entries,input_tokens,output_tokens,spend_usd\n"


async def test_a_correction_is_a_new_row_and_is_booked_once(
    database_url: str, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    await three_entries(database_url, make_team, make_key)
    entry_id = await database.fetchval(
        "SELECT entry_id FROM ledger.ledger_entry JOIN ledger.team USING (team_id)"
        " WHERE name = 'growth' AND month = $1",
        THIS_MONTH,
    )
    own = str(uuid.uuid4())
    environ = {"GATEWAY_DATABASE_URL": database_url}
    adjust = ("ledger", "adjust", "--team", "growth", "--json")
    once = (*adjust, "--amount", "-0.5", "--reason", "invoice 7", "--id", own)

    first = await gateway(*once, **environ)
    second = await gateway(*once, **environ)
    reversal = await gateway(
        *adjust,
        *("--amount", "-1.234567890124", "--reason", "test call"),
        *("--type", "reversal", "--entry", str(entry_id)),
        **environ,
    )

    assert (first.status, first.document["booked"]) == (0, True)
    assert (second.status, second.document["booked"]) == (0, False)
    assert (reversal.status, reversal.document["entry_type"]) == (0, "reversal")
    assert first.document["month"] == THIS
    spend_usd = await database.fetchval(
        "SELECT spend_usd FROM ledger.team_month_spend JOIN ledger.team USING (team_id)"
        " WHERE name = 'growth' AND month = $1",
        THIS_MONTH,
    )
    assert spend_usd == Decimal("-0.5")
    row = await database.fetchrow(
        "SELECT related_entry_id, reason, recorded_by FROM ledger.ledger_entry"
        " WHERE entry_type = 'reversal'"
    )
    assert (row["related_entry_id"], row["reason"]) == (entry_id, "test call")
    assert row["recorded_by"]


async def test_a_correction_that_is_not_right_is_refused_with_a_reason(
    database_url: str,
    make_team: MakeTeam,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await make_team("growth")
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)

    refused = await ran(
        capsys,
        "ledger adjust --team nobody --amount 1 --reason x",
        "ledger adjust --team growth --amount 0 --reason x",
        "ledger adjust --team growth --amount 1 --reason x --type credit",
        "ledger adjust --team growth --amount 1 --reason x --type reversal",
        f"ledger adjust --team growth --amount 1 --reason x --entry {uuid.uuid4()}",
    )

    assert [(each.status, len(each.lines), each.stdout) for each in refused] == [(2, 1, b"")] * 5
    assert "gateway team list" in refused[0].stderr
    assert "below 0" in refused[2].stderr


async def test_a_closed_month_stays_as_it_is_and_its_digest_is_the_ledgers(
    database_url: str, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    total_usd = await three_entries(database_url, make_team, make_key)
    environ = {"GATEWAY_DATABASE_URL": database_url}

    early = await gateway("period", "close", THIS, **environ)
    closed = await gateway("period", "close", LAST, "--json", **environ)
    again, late, months, verified = await gateways(
        f"period close {LAST}",
        f"ledger adjust --team growth --amount 1 --reason late --month {LAST}",
        "period list --json",
        f"ledger verify --month {LAST}",
        **environ,
    )

    assert (early.status, "not over" in early.stderr) == (1, True)
    assert closed.status == 0
    assert closed.document["entry_count"] == 2
    assert Decimal(closed.document["total_usd"]) == total_usd
    digest = await database.fetchval("SELECT ledger.month_digest($1)", LAST_MONTH)
    assert closed.document["digest"] == digest.hex()
    assert datetime.fromisoformat(closed.document["closed_at"]) <= datetime.now(UTC)
    assert (again.status, "closed already" in again.stderr) == (1, True)
    assert (late.status, "closed" in late.stderr) == (1, True)
    assert {each["month"]: each["status"] for each in months.document}[LAST] == "closed"
    assert verified.status == 0


async def test_what_was_exported_as_json_is_one_document_even_for_an_empty_month(
    database_url: str,
) -> None:
    finished = await gateway(
        *("ledger", "export", "--month", "2001-01", "--format", "focus", "--json"),
        GATEWAY_DATABASE_URL=database_url,
    )

    assert json.loads(finished.stdout) == []
