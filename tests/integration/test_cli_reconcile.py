from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from gateway.domain.entry import Amounts
from gateway.domain.ids import ApiKeyId, TeamId
from gateway.domain.usage import Usage
from gateway.postgres.connection import Connection
from tests.fakes.command import gateway
from tests.fakes.cost_reports import ADMIN_KEY, CostReports, day
from tests.fakes.months import LAST_MONTH, noon, text
from tests.fakes.posted import posted
from tests.fakes.settlements import settlement
from tests.fixtures.database import MakeKey, MakeTeam

LAST = text(LAST_MONTH)
YEAR, MONTH = LAST_MONTH.year, LAST_MONTH.month


@pytest.fixture
async def reports() -> AsyncIterator[CostReports]:
    async with CostReports() as reports:
        yield reports


async def spent(
    url: str, make_team: MakeTeam, make_key: MakeKey, provider: str, by_day: dict[int, int]
) -> int:
    team_id = await make_team("growth")
    api_key_id, _ = await make_key(team_id)
    entries = [
        settlement(
            team_id=TeamId(team_id),
            api_key_id=ApiKeyId(api_key_id),
            provider=provider,
            month=LAST_MONTH,
            occurred_at=noon(LAST_MONTH, number),
            amounts=Amounts(input_pico_usd=amount),
            usage=Usage(input_uncached_tokens=1),
            is_leased=False,
        ).entry
        for number, amount in by_day.items()
    ]
    await posted(url, entries)
    return team_id


async def test_anthropics_bill_in_cents_agrees_with_the_ledger_to_the_last_digit(
    database_url: str,
    database: Connection,
    reports: CostReports,
    make_team: MakeTeam,
    make_key: MakeKey,
) -> None:
    team_id = await spent(
        database_url,
        make_team,
        make_key,
        "anthropic",
        {3: 1_237_891_200_000, 4: 500_000_000_000, 9: 70_000_000_000},
    )
    # A correction of day 9 that is booked later counts on day 9; a credit is not the provider's.
    related = await database.fetchval(
        "SELECT entry_id FROM ledger.ledger_entry ORDER BY occurred_at DESC LIMIT 1"
    )
    for kind, amount in (("adjustment", "0.01"), ("credit", "-5")):
        await database.execute(
            "SELECT ledger.post_adjustment(gen_random_uuid(), $1,"
            " date_trunc('month', now())::date, $2, $3, 'checked', $4)",
            kind,
            team_id,
            Decimal(amount),
            related,
        )
    reports.days = [
        (day(YEAR, MONTH, 3), ["100", "23.78912"]),
        (day(YEAR, MONTH, 4), ["50"]),
        (day(YEAR, MONTH, 9), ["8"]),
    ]

    finished = await gateway(
        *("reconcile", "anthropic", "--month", LAST, "--tolerance", "0", "--json"),
        GATEWAY_DATABASE_URL=database_url,
        GATEWAY_ANTHROPIC_BASE_URL=reports.url,
        GATEWAY_ANTHROPIC_ADMIN_KEY=ADMIN_KEY,
    )

    assert finished.status == 0, finished.stderr
    assert finished.document["agrees"] is True
    assert Decimal(finished.document["provider_usd"]) == Decimal("1.8178912")
    assert Decimal(finished.document["difference_usd"]) == 0
    assert [each["day"] for each in finished.document["days"]] == [
        f"{LAST}-03",
        f"{LAST}-04",
        f"{LAST}-09",
    ]
    assert [request.query.get("page") for request in reports.received] == [None, "page_2"]
    assert reports.received[0].query["bucket_width"] == "1d"
    assert reports.received[0].headers["anthropic-version"] == "2023-06-01"


async def test_a_day_apart_by_more_than_the_tolerance_ends_with_status_1(
    database_url: str, reports: CostReports, make_team: MakeTeam, make_key: MakeKey
) -> None:
    await spent(database_url, make_team, make_key, "openai", {3: 60_000_000_000, 4: 10**12})
    reports.days = [
        (day(YEAR, MONTH, 3), ["0.06"]),
        (day(YEAR, MONTH, 4), ["1.0300000000000000000001"]),
        (day(YEAR, MONTH, 5), []),
    ]
    environ = {
        "GATEWAY_DATABASE_URL": database_url,
        "GATEWAY_OPENAI_BASE_URL": f"{reports.url}/v1",
        "GATEWAY_OPENAI_ADMIN_KEY": ADMIN_KEY,
    }

    strict = await gateway("reconcile", "openai", "--month", LAST, "--json", **environ)
    lenient = await gateway(
        "reconcile", "openai", "--month", LAST, "--tolerance", "0.05", **environ
    )

    assert strict.status == 1
    assert [each["agrees"] for each in strict.document["days"]] == [True, False, True]
    assert strict.document["days"][1]["difference_usd"] == "0.0300000000000000000001"
    assert lenient.status == 0
    assert b"total" in lenient.stdout
    assert lenient.stderr == ""


async def test_a_report_that_cannot_be_had_is_one_line_without_the_key(
    database_url: str, reports: CostReports
) -> None:
    environ = {"GATEWAY_DATABASE_URL": database_url}
    reports.status = 401
    command = ("reconcile", "anthropic", "--month", LAST)

    keyless = await gateway(*command, **environ)
    refused = await gateway(
        *command,
        **environ,
        GATEWAY_ANTHROPIC_BASE_URL=reports.url,
        GATEWAY_ANTHROPIC_ADMIN_KEY=ADMIN_KEY,
    )
    elsewhere = await gateway(
        *command,
        **environ,
        GATEWAY_ANTHROPIC_BASE_URL=f"{reports.url}/nothing/here",
        GATEWAY_ANTHROPIC_ADMIN_KEY=ADMIN_KEY,
    )

    assert (keyless.status, "GATEWAY_ANTHROPIC_ADMIN_KEY" in keyless.stderr) == (2, True)
    assert (refused.status, "answered 401" in refused.stderr) == (1, True)
    assert (elsewhere.status, "answered 404" in elsewhere.stderr) == (1, True)
    assert [len(each.lines) for each in (keyless, refused, elsewhere)] == [1, 1, 1]
    assert ADMIN_KEY not in refused.stderr + elsewhere.stderr
