"""What a worker and the ledger tell each other about budgets: asks, answers and readings."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from gateway.domain.budget import BudgetTerms
from gateway.domain.ids import TeamId


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAsk:
    """A worker's counters of one lease, and what it wants on top; integer pico-USD."""

    team_id: TeamId
    month: date
    committed_pico_usd: int
    """Consumed, returned, settled but not posted, and held: what no answer can undo."""
    consumed_pico_usd: int
    returned_pico_usd: int
    want_pico_usd: int = 0
    min_pico_usd: int = 0
    """Less than this is of no use: the hold of the request that waits."""
    is_exact: bool = False
    """Near the cap: exactly what is wanted, where it is there, and no share of what is left."""
    may_cross: bool = False
    """While there is room at all, `min_pico_usd` is granted even where it is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """The lease after an ask, and the team's account in the same instant."""

    granted_pico_usd: int
    """In all, ever; rounded down."""
    spend_usd: Decimal
    held_usd: Decimal
    """By all workers, this one and the new grant included."""
    cap_usd: Decimal | None
    next_change_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReading:
    """A team's terms and account of a month, as the ledger has them."""

    team_id: TeamId
    terms: BudgetTerms
    spend_usd: Decimal
    held_usd: Decimal
