"""Budget words: a team's status, how strictly it is enforced, and the account the guard reads."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from gateway.domain.ids import TeamId
from gateway.domain.value import Value


class BudgetStatus(StrEnum):
    """Where a team stands, decided in this order (contract, "The guard")."""

    OVERRIDE = "override"
    DISABLED = "disabled"
    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    ENGAGE = "engage"
    WARN = "warn"
    OK = "ok"


class Enforcement(StrEnum):
    """`shadow` never refuses, `hard` lets the last request cross the cap, `strict` none."""

    SHADOW = "shadow"
    HARD = "hard"
    STRICT = "strict"


class SaveModeSetting(StrEnum):
    """A team's Save Mode: `auto` is idle-prone products, and all products at `engage`."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class BudgetTerms(Value, frozen=True, kw_only=True):
    """What an admin decided for a team; the cap is the one in force now, overrides included."""

    cap_usd: Decimal | None
    warn_at: Decimal = Decimal("0.85")
    engage_at: Decimal = Decimal("0.95")
    enforcement: Enforcement = Enforcement.HARD
    save_mode: SaveModeSetting = SaveModeSetting.AUTO
    next_change_at: datetime | None = None
    """When a dated override next begins or ends by itself."""

    @property
    def has_cap(self) -> bool:
        """NULL, zero and negative caps are no cap."""
        return self.cap_usd is not None and self.cap_usd > 0


class BudgetView(Value, frozen=True, kw_only=True):
    """A team's budget at the moment of a decision: what the headers and the 429 are made of."""

    status: BudgetStatus
    month: date
    cap_usd: Decimal | None
    spend_usd: Decimal | None
    """Posted spend of the month; None while it is unresolved."""
    held_usd: Decimal
    resets_at: datetime
    enforcement: Enforcement | None = None
    """None while it is not known."""


class Admission(Value, frozen=True, kw_only=True):
    """The guard's answer. A refused request has the reason, and the amount it would have held.

    `is_held_back` marks a refusal that passes by itself: posted spend is below the cap and only the
    holds of running requests are in the way.
    """

    view: BudgetView
    is_admitted: bool
    hold_pico_usd: int = 0
    is_held_back: bool = False
    would_refuse: bool = False
    """Shadow enforcement, override or outage: admitted although the rule says no."""
    failed_open: bool = False
    wants_save_mode: bool = False
    """`engage` (or worse): Save Mode is on for every product."""
    is_leased: bool = False
    """The hold counts against a budget lease; never where the team has no cap."""
    save_mode: SaveModeSetting = SaveModeSetting.AUTO
    """The team's own setting, beside the budget's wish."""


class PostedTotal(Value, frozen=True, kw_only=True):
    """A team's total after a posting, as the ledger returned it."""

    team_id: TeamId
    month: date
    spend_usd: Decimal
    leased_usd: Decimal = Decimal(0)
    """Amount of the entries just inserted that consumes this writer's lease."""
