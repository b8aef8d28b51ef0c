import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from gateway.cli.price_publishing import publish_prices_on
from gateway.domain.entry import Amounts
from gateway.domain.ids import ApiKeyId, TeamId
from gateway.domain.usage import Usage
from gateway.postgres.connection import Connection, DedicatedConnection
from gateway.pricing.overrides import PriceOverride
from gateway.reports.price_rows import PriceRows
from tests.fakes.command import gateway, gateways, ran
from tests.fakes.months import LAST_MONTH, THIS_MONTH, noon, text
from tests.fakes.posted import posted
from tests.fakes.settlements import settlement
from tests.fixtures.database import MakeKey, MakeTeam

NOW = datetime(2026, 11, 20, tzinfo=UTC)


async def loaded(url: str) -> list[PriceOverride]:
    connection = DedicatedConnection(url, application_name="tests")
    try:
        return await PriceRows(connection).load()
    finally:
        await connection.close()


async def test_published_prices_fill_in_once_and_reach_people_alone(
    database_url: str, database: Connection
) -> None:
    added = await publish_prices_on(database, now=NOW)
    again = await publish_prices_on(database, now=NOW + timedelta(days=1))

    row = await database.fetchrow(
        "SELECT * FROM ledger.price WHERE provider = 'anthropic' AND model = 'claude-sonnet-4-5'"
        " AND above_prompt_tokens = 0"
    )
    assert added > 500
    assert again == 0
    assert row["input_usd_per_mtok"] == Decimal(3)
    assert row["cache_write_1h_usd_per_mtok"] == Decimal(6)
    assert row["web_search_usd"] == Decimal("0.01")
    assert row["source"].startswith("genai-prices-")
    assert await loaded(database_url) == []


async def test_a_new_release_of_the_data_adds_a_row_from_now_on_and_edits_none(
    database: Connection,
) -> None:
    await database.execute(
        "INSERT INTO ledger.price (provider, model, effective_from, input_usd_per_mtok,"
        " output_usd_per_mtok, source, is_published)"
        " VALUES ('anthropic', 'claude-sonnet-4-5', '2000-01-01', 99, 99, 'an older release', true)"
    )

    await publish_prices_on(database, now=NOW)
    again = await publish_prices_on(database, now=NOW)

    rows = await database.fetch(
        "SELECT effective_from, input_usd_per_mtok FROM ledger.price WHERE provider = 'anthropic'"
        " AND model = 'claude-sonnet-4-5' AND above_prompt_tokens = 0 ORDER BY price_id"
    )
    assert [tuple(row) for row in rows] == [
        (datetime(2000, 1, 1, tzinfo=UTC), Decimal(99)),
        (NOW, Decimal(3)),
    ]
    assert again == 0


async def test_finance_sets_prices_and_cannot_pass_one_off_as_published(
    database_url: str, database: Connection
) -> None:
    insert = (
        "INSERT INTO ledger.price (provider, model, effective_from, input_usd_per_mtok,"
        " output_usd_per_mtok, source{}) VALUES ('xai', 'm', '2026-01-01', 1, 2, 'contract'{})"
    )
    await database.execute("SET ROLE finance_admin")

    await database.execute(insert.format("", ""))
    for column, value in (("is_published", "true"), ("above_prompt_tokens", "5")):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute(insert.format(f", {column}", f", {value}"))

    assert [(each.model, each.input_usd) for each in await loaded(database_url)] == [("m", 1)]


async def test_a_price_that_is_set_wins_and_workers_hear_of_it(
    database_url: str, database: Connection
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await database.add_listener("gateway_price", lambda *said: heard.put_nowait(str(said[2])))
    environ = {"GATEWAY_DATABASE_URL": database_url}
    price = ("price", "set", "claude-sonnet-4-5", "--output", "10", "--from")

    migrated = await gateway("migrate", "--json", **environ)
    quiet = heard.empty()
    first = await gateway(*price, "2026-01-01", "--input", "2.5", "--json", **environ)
    better = await gateway(
        *price,
        *("2026-01-01", "--input", "2", "--cache-read", "0.15", "--source", "contract 12"),
        *("--web-search", "0.008"),
        **environ,
    )
    shown, listed, only_set, gone = await gateways(
        "price show claude-sonnet-4-5 --provider anthropic --json",
        "price list --provider anthropic --json",
        "price list --set",
        "price show no-such-model",
        **environ,
    )

    assert (migrated.status, quiet) == (0, True)
    assert (first.status, better.status) == (0, 0)
    assert first.document["provider"] == "anthropic"
    await asyncio.wait_for(heard.get(), 5)
    assert await loaded(database_url) == [
        PriceOverride(
            provider="anthropic",
            model="claude-sonnet-4-5",
            starts_at=datetime(2026, 1, 1, tzinfo=UTC),
            input_usd=Decimal(2),
            output_usd=Decimal(10),
            cache_read_usd=Decimal("0.15"),
            web_search_usd=Decimal("0.008"),
        )
    ]
    assert shown.document["in_force"][0]["cache_read"] == "0.15"
    assert shown.document["in_force"][0]["cache_write_1h"] == "4"
    assert {row["kind"] for row in shown.document["rows"]} == {"set", "published"}
    ours = [row for row in listed.document if row["model"] == "claude-sonnet-4-5"]
    assert [(row["input"], row["source"]) for row in ours] == [("2", "contract 12")]
    assert len(listed.document) > 10
    assert b"contract 12" in only_set.stdout
    assert (gone.status, len(gone.lines)) == (1, 1)


async def test_a_price_of_zero_or_nonsense_is_refused_unless_it_is_meant(
    database_url: str,
    database: Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    dated = "--from 2026-01-01 --provider fireworks"

    *refused, free, unknown = await ran(
        capsys,
        f"price set m --input 0 --output 0 {dated}",
        f"price set m --input -1 --output 1 {dated}",
        f"price set m --input NaN --output 1 {dated}",
        f"price set m --input 1e-20 --output 1 {dated}",
        "price set m --input 1 --output 1 --from tomorrow --provider fireworks",
        "price set m --input 1 --output 1 --from 2026-01-01",
        "price set m --input 1 --output 1 --from 2026-01-01 --provider Fire/works",
        f"price set local --input 0 --output 0 --free {dated}",
        "price set local --input 1 --output 1 --from 2026-01-01 --provider vllm",
    )

    assert [(each.status, len(each.lines)) for each in refused] == [(2, 1)] * 7
    assert "--free" in refused[0].stderr
    assert "--provider" in refused[5].stderr
    assert free.status == 0
    assert (unknown.status, "GATEWAY_PROVIDERS_FILE" in unknown.stderr) == (0, True)
    assert await database.fetchval("SELECT count(*) FROM ledger.price") == 2


async def test_a_ceiling_is_corrected_once_when_its_price_arrives(
    database_url: str, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    team_id = await make_team("growth")
    api_key_id, _ = await make_key(team_id)
    kept = {
        "team_id": TeamId(team_id),
        "api_key_id": ApiKeyId(api_key_id),
        "provider": "fireworks",
        "amounts": Amounts(input_pico_usd=50_000_000_000, output_pico_usd=40_000_000_000),
        "usage": Usage(input_uncached_tokens=1000, output_tokens=100, file_search_calls=4),
        "detail": {"counts": {"file_search_calls": 4}},
        "is_leased": False,
    }
    named = {"request_model": "accounts/us/tuned", "response_model": None}
    unpriced = {"request_model": "accounts/us/other", "response_model": None}
    charged = [
        settlement(
            **kept, **named, month=THIS_MONTH, occurred_at=noon(THIS_MONTH), is_ceiling=True
        ),
        settlement(
            **kept, **named, month=LAST_MONTH, occurred_at=noon(LAST_MONTH), is_ceiling=True
        ),
        settlement(**kept, **named, month=THIS_MONTH, occurred_at=noon(THIS_MONTH)),
        settlement(
            **kept, **unpriced, month=THIS_MONTH, occurred_at=noon(THIS_MONTH), is_ceiling=True
        ),
    ]
    await posted(database_url, [each.entry for each in charged])
    environ = {"GATEWAY_DATABASE_URL": database_url}
    this, last = text(THIS_MONTH), text(LAST_MONTH)

    before = await gateway("price", "rerate", "--month", this, "--json", **environ)
    await gateway(
        *("price", "set", "accounts/us/tuned", "--input", "2", "--output", "8"),
        *("--from", "2020-01-01", "--provider", "fireworks"),
        **environ,
    )
    tried = await gateway("price", "rerate", "--month", this, "--dry-run", "--json", **environ)
    done = await gateway("price", "rerate", "--month", this, "--json", **environ)
    again = await gateway("price", "rerate", "--month", this, **environ)
    await gateway("period", "close", last, **environ)
    late = await gateway("price", "rerate", "--month", last, "--json", **environ)

    # 1,000 in at $2 and 100 out at $8 a million: 0.0028, and 0.01 for four searches of files, of
    # 0.09 that was charged.
    assert before.document["entries"] == 0
    assert (tried.document["entries"], tried.document["difference_usd"]) == (1, "-0.0772")
    assert done.document["corrections"] == tried.document["corrections"]
    assert (again.status, again.stdout) == (0, b"")
    assert late.document["entries"] == 1
    corrections = await database.fetch(
        "SELECT entry_id, related_entry_id, month, service_month, amount_usd, reason"
        " FROM ledger.ledger_entry WHERE entry_type = 'adjustment' ORDER BY service_month NULLS FIRST"
    )
    assert [
        (row["related_entry_id"], row["month"], row["service_month"]) for row in corrections
    ] == [
        (charged[0].entry.entry_id, THIS_MONTH, None),
        (charged[1].entry.entry_id, THIS_MONTH, LAST_MONTH),
    ]
    assert {row["amount_usd"] for row in corrections} == {Decimal("-0.0772")}
    assert "set-from-2020-01-01" in corrections[0]["reason"]
    assert done.document["corrections"][0]["correction_id"] == corrections[0]["entry_id"]
    balanced = await database.fetch("SELECT balanced FROM ledger.reconciliation")
    assert {row["balanced"] for row in balanced} == {True}
