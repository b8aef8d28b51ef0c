"""What a worker knows of a team's month: terms, posted spend, others' holds, and its own lease."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from gateway.domain.budget import BudgetTerms, BudgetView, Enforcement
from gateway.domain.clock import month_end
from gateway.domain.ids import TeamId
from gateway.domain.lease import BudgetReading, LeaseAnswer, LeaseAsk
from gateway.domain.money import pico_from_usd
from gateway.guard.demand import Demand
from gateway.guard.lease import Lease
from gateway.guard.limits import Limits, limits_of, status_of

# An answer that says no is good for so long, so that a refused crowd asks once and not one by one.
_DENIAL_S = 0.020
# Where the ledger's clock is behind ours, a dated change is due here and not yet there.
_DUE_AGAIN = timedelta(seconds=0.25)


class Account:
    """One team in one month, as memory has it.

    Nothing here waits, so that no request comes between a check and its hold.
    """

    __slots__ = (
        "_change_at",
        "_posts_seen",
        "demand",
        "denied_pico_usd",
        "denied_until_s",
        "epoch",
        "has_waiters",
        "is_in_doubt",
        "is_near",
        "is_stale",
        "lease",
        "limits",
        "month",
        "others_pico_usd",
        "paused_until_s",
        "read_at_s",
        "resets_at",
        "spend_pico_usd",
        "team_id",
        "terms",
        "view",
    )

    def __init__(self, team_id: TeamId, month: date) -> None:
        self.team_id = team_id
        self.month = month
        self.resets_at = month_end(month)
        self.terms: BudgetTerms | None = None
        """None: the database was never asked, or did not answer."""
        self.limits: Limits | None = None
        self.spend_pico_usd: int | None = None
        self.others_pico_usd = 0
        """Held by other workers when the ledger was last heard."""
        self.lease = Lease()
        self.demand = Demand()
        self.epoch = 0
        """Counts notifications of changed terms: what was read before one does not count after."""
        self.is_stale = False
        self.is_near = False
        self.is_in_doubt = False
        """An ask got no answer: the ledger may have granted more than is known here."""
        self.read_at_s = float("-inf")
        self.denied_until_s = float("-inf")
        self.denied_pico_usd = 0
        self.paused_until_s = float("-inf")
        self.has_waiters = False
        self._posts_seen = 0
        self._change_at: datetime | None = None
        self.view = self._view(None, Decimal(0))

    @property
    def is_idle(self) -> bool:
        """Forgetting it costs one question."""
        return self.lease.is_empty and not self.has_waiters

    @property
    def enforces(self) -> bool:
        """A lease is wanted: there is a cap, and it can refuse."""
        terms = self.terms
        return (
            self.limits is not None
            and terms is not None
            and terms.enforcement is not Enforcement.SHADOW
        )

    @property
    def running_pico_usd(self) -> int:
        """Spend to be, of all workers, as far as is known here."""
        return self.others_pico_usd + self.lease.running

    def needs_reading(self, now: datetime) -> bool:
        """The terms are unknown, were changed, or change now by themselves."""
        if self.terms is None or self.is_stale:
            return True
        return self._change_at is not None and self._change_at <= now

    def next_month(self, month: date) -> "Account":
        """The same team in a month that has just begun: nothing is spent."""
        account = Account(self.team_id, month)
        account.epoch, account.is_stale = self.epoch, self.is_stale
        if self.terms is not None:
            account._set_terms(self.terms)
            account._change_at = self._change_at
            account._set_spend(Decimal(0), Decimal(0))
        return account

    def changed(self) -> None:
        """Somebody changed the team's terms; what is known of them is old."""
        self.epoch += 1
        self.is_stale = True
        self.forget_denial()

    def posts_seen(self) -> int:
        """To be handed back with what is read from now on."""
        return self._posts_seen

    def read(
        self, reading: BudgetReading, *, epoch: int, posts: int, now: datetime, now_s: float
    ) -> None:
        """Take a reading that was asked for at `epoch` and after `posts`."""
        if epoch != self.epoch:
            return
        self.is_stale = False
        self.read_at_s = now_s
        self.forget_denial()
        change_at = reading.terms.next_change_at
        self._change_at = None if change_at is None else max(change_at, now + _DUE_AGAIN)
        if reading.terms != self.terms:
            self._set_terms(reading.terms)
        held = pico_from_usd(reading.held_usd)
        self.others_pico_usd = max(held - self.lease.outstanding, 0)
        self._heard(reading.spend_usd, reading.held_usd, posts)

    def answered(self, answer: LeaseAnswer, ask: LeaseAsk, *, posts: int, now_s: float) -> None:
        """Take the account in an answer; the lease itself is granted by the caller."""
        held = pico_from_usd(answer.held_usd)
        own = answer.granted_pico_usd - ask.consumed_pico_usd - ask.returned_pico_usd
        self.others_pico_usd = max(held - max(own, 0), 0)
        self.is_in_doubt = False
        self.read_at_s = now_s
        # Terms come from readings alone; an answer that disagrees is a reason for one.
        if self.terms is not None and answer.cap_usd != self.terms.cap_usd:
            self.is_stale = True
        self._heard(answer.spend_usd, answer.held_usd, posts)

    def posted(self, spend_usd: Decimal) -> None:
        """Our own post has raised the total to this."""
        self._posts_seen += 1
        if self.terms is not None:
            known = self.view.spend_usd
            self._set_spend(
                spend_usd if known is None else max(known, spend_usd), self.view.held_usd
            )

    def denied(self, need: int, now_s: float) -> None:
        """The ledger granted less than `need`; in hard that means nothing at all."""
        strict = self.terms is not None and self.terms.enforcement is Enforcement.STRICT
        self.denied_pico_usd = need if strict else 1
        self.denied_until_s = now_s + _DENIAL_S

    def forget_denial(self) -> None:
        """Something moved, a hold of our own perhaps: ask again."""
        self.denied_until_s = float("-inf")

    def _heard(self, spend_usd: Decimal, held_usd: Decimal, posts: int) -> None:
        # A post of ours came meanwhile: what was read may be from before it.
        known = self.view.spend_usd
        if posts != self._posts_seen and known is not None:
            spend_usd = max(known, spend_usd)
        self._set_spend(spend_usd, held_usd)

    def _set_terms(self, terms: BudgetTerms) -> None:
        self.terms = terms
        self.limits = limits_of(terms)

    def _set_spend(self, spend_usd: Decimal, held_usd: Decimal) -> None:
        self.spend_pico_usd = spend = pico_from_usd(spend_usd)
        if self.limits is not None:
            taken = spend + self.others_pico_usd + self.lease.outstanding
            self.is_near = taken >= self.limits.near_pico_usd
        else:
            self.is_near = False
        self.view = self._view(spend_usd, held_usd)

    def _view(self, spend_usd: Decimal | None, held_usd: Decimal) -> BudgetView:
        status = status_of(self.limits, self.spend_pico_usd)
        if self.terms is None:
            status = status_of(_UNKNOWN, None)
        return BudgetView(
            status=status,
            month=self.month,
            cap_usd=None if self.terms is None else self.terms.cap_usd,
            spend_usd=spend_usd,
            held_usd=held_usd,
            resets_at=self.resets_at,
            enforcement=None if self.terms is None else self.terms.enforcement,
        )


_UNKNOWN = Limits(cap_pico_usd=0, warn_pico_usd=0, engage_pico_usd=0, near_pico_usd=0)
