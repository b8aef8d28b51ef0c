"""Accounts of the guard in a state that a test wants, and a ledger of leases in memory."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from gateway.domain.budget import BudgetTerms
from gateway.domain.ids import TeamId
from gateway.domain.lease import BudgetReading, LeaseAnswer, LeaseAsk
from gateway.domain.money import usd_from_pico
from gateway.guard.account import Account

NOW = datetime(2026, 11, 15, 12, 0, tzinfo=UTC)
MONTH = date(2026, 11, 1)
USD = 10**12


def account(
    cap_usd: str | None = "25.00",
    *,
    spend_usd: str = "0",
    held_usd: str = "0",
    granted: int = 0,
    now_s: float = 100.0,
    **terms: Any,
) -> Account:
    """An account that was read at `now_s`, with a lease of `granted` pico-USD for five minutes."""
    cap = None if cap_usd is None else Decimal(cap_usd)
    made = Account(TeamId(7), MONTH)
    made.lease.grant(granted, now_s + 300)
    made.read(
        BudgetReading(
            team_id=TeamId(7),
            terms=BudgetTerms(cap_usd=cap, **terms),
            spend_usd=Decimal(spend_usd),
            held_usd=Decimal(held_usd),
        ),
        epoch=made.epoch,
        posts=made.posts_seen(),
        now=NOW,
        now_s=now_s,
    )
    return made


@dataclass
class _Row:
    granted: int = 0
    consumed: int = 0
    returned: int = 0
    is_active: bool = True

    @property
    def outstanding(self) -> int:
        return max(self.granted - self.consumed - self.returned, 0) if self.is_active else 0


@dataclass
class MemoryLedger:
    """What `ledger.lease_sync` and a post do to one team's month, in integers."""

    cap: int
    spend: int = 0
    rows: dict[int, _Row] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(row.outstanding for row in self.rows.values())

    def sync(self, writer: int, ask: LeaseAsk) -> LeaseAnswer:
        row = self.rows.setdefault(writer, _Row())
        row.consumed = max(row.consumed, ask.consumed_pico_usd)
        row.returned = max(row.returned, ask.returned_pico_usd)
        kept = row.granted if row.is_active else row.consumed + row.returned
        row.granted = max(ask.committed_pico_usd, kept)
        row.is_active = True
        if ask.want_pico_usd + ask.min_pico_usd > 0:
            row.granted += self._grant(ask)
        return LeaseAnswer(
            granted_pico_usd=row.granted,
            spend_usd=usd_from_pico(self.spend),
            held_usd=usd_from_pico(self.held),
            cap_usd=usd_from_pico(self.cap),
            next_change_at=None,
        )

    def _grant(self, ask: LeaseAsk) -> int:
        room = self.cap - self.spend - self.held
        writers = sum(row.is_active for row in self.rows.values())
        wanted = ask.want_pico_usd
        if not ask.is_exact:
            wanted = min(wanted, room // (2 * writers))
        grant = min(max(wanted, ask.min_pico_usd), room)
        if grant < ask.min_pico_usd:
            grant = ask.min_pico_usd if ask.may_cross and room > 0 else 0
        return max(grant, 0)

    def post(self, writer: int, amount: int) -> None:
        self.spend += amount
        if writer in self.rows:
            self.rows[writer].consumed += amount

    def expire(self, writer: int) -> None:
        if writer in self.rows:
            self.rows[writer].is_active = False
