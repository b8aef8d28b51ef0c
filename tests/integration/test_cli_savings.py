from datetime import timedelta
from decimal import Decimal

from gateway.domain.entry import Entry
from gateway.domain.ids import ApiKeyId, TeamId
from gateway.domain.usage import Usage
from gateway.postgres.connection import Connection
from gateway.reports.savings import savings_of
from tests.fakes.command import gateway
from tests.fakes.months import LAST_MONTH, noon, text
from tests.fakes.posted import posted
from tests.fakes.settlements import settlement
from tests.fixtures.database import MakeKey, MakeTeam

RATES = {"input": "3", "cache_read": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6"}


class Conversation:
    """Calls of one key, at minutes of one day."""

    def __init__(self, team_id: int, api_key_id: int, product: str = "posthog_code") -> None:
        self._kept = {
            "team_id": TeamId(team_id),
            "api_key_id": ApiKeyId(api_key_id),
            "product": product,
            "month": LAST_MONTH,
            "is_leased": False,
        }
        self.entries: list[Entry] = []

    def call(
        self,
        minute: int,
        *,
        read: int = 0,
        written_1h: int = 0,
        is_upgraded: bool = True,
        **more: object,
    ) -> None:
        self.entries.append(
            settlement(
                **{
                    **self._kept,
                    "occurred_at": noon(LAST_MONTH) + timedelta(minutes=minute),
                    "usage": Usage(cache_read_tokens=read, cache_write_1h_tokens=written_1h),
                    "cache_ttl_upgraded": 1 if is_upgraded else 0,
                    "detail": {"rates": RATES},
                    **more,
                }
            ).entry
        )


async def test_reads_after_a_five_minute_gap_and_within_the_hour_are_rewrites_avoided(
    database_url: str, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    team_id = await make_team("growth")
    key, other = (await make_key(team_id))[0], (await make_key(team_id))[0]
    talk = Conversation(team_id, key)
    talk.call(0, written_1h=1_000_000)
    talk.call(4, read=1_000_000)  # Within five minutes: it would have been a read anyway.
    talk.call(30, read=1_000_000)  # Spares a re-write: 3.75 - 0.30.
    talk.call(90, read=1_000_000)  # Exactly an hour: spared as well.
    talk.call(151, read=1_000_000)  # More than an hour: this prefix is somebody else's.
    # Another key, without an upgrade: the client's own one-hour writes are not Save Mode's.
    own = Conversation(team_id, other)
    own.call(0, written_1h=1_000_000, is_upgraded=False)
    own.call(30, read=1_000_000, is_upgraded=False)
    # Another product, which never comes back: a cost without a saving.
    idle = Conversation(team_id, key, product="slack_app")
    idle.call(0, written_1h=200_000)
    # Rates unknown: neither amount, and said so.
    idle.call(10, written_1h=5, detail={})
    await posted(database_url, [*talk.entries, *own.entries, *idle.entries])

    code, slack = await savings_of(database, month=LAST_MONTH)
    printed = await gateway(
        "savings", "--month", text(LAST_MONTH), "--json", GATEWAY_DATABASE_URL=database_url
    )

    assert (code.product, code.upgraded_requests, code.rewrites_avoided) == ("posthog_code", 5, 2)
    assert (code.cost_usd, code.saving_usd) == (Decimal("2.25"), Decimal("6.90"))
    assert code.net_usd == Decimal("4.65")
    assert (slack.product, slack.cost_usd, slack.net_usd) == (
        "slack_app",
        Decimal("0.45"),
        Decimal("-0.45"),
    )
    assert (slack.without_rates, slack.written_1h_tokens) == (1, 200_005)
    assert [row["net_usd"] for row in printed.document] == ["4.65", "-0.45"]


async def test_a_month_without_upgrades_has_no_savings(
    database_url: str, database: Connection
) -> None:
    assert await savings_of(database, month=LAST_MONTH) == []
