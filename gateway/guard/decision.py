"""The guard's decision, from memory alone; where memory cannot decide, it says so."""

from datetime import datetime
from enum import Enum

from gateway.domain.budget import Enforcement
from gateway.guard.account import Account

# Active teams are read every second. A refusal on older knowledge would be one on hearsay.
KNOWN_FOR_S = 2.0


class Verdict(Enum):
    """What to do with a request."""

    ADMIT = "admit"
    ADMIT_ANYWAY = "admit_anyway"
    """Shadow enforcement or an override, although the rule says no."""
    REFUSE = "refuse"
    HOLD_BACK = "hold_back"
    """Only holds of running requests are in the way."""
    ASK = "ask"
    """The ledger has to be asked."""
    UNAVAILABLE = "unavailable"
    """The ledger would have to be asked, and cannot be."""


def need_pico_usd(account: Account, *, expected: int, worst: int) -> int:
    """What a request holds: its worst case where the cap is strict, else its expected cost."""
    terms = account.terms
    strict = terms is not None and terms.enforcement is Enforcement.STRICT
    return worst if strict else expected


def decide(
    account: Account, need: int, *, is_override: bool, now: datetime, now_s: float
) -> Verdict:
    """Decide without waiting. ADMIT against a cap means that the lease has room for `need`."""
    if account.needs_reading(now):
        return Verdict.ASK
    if account.limits is None:
        return Verdict.ADMIT
    if is_override or not account.enforces:
        return _noted(account, need)
    return _bound(account, need, now_s)


def _bound(account: Account, need: int, now_s: float) -> Verdict:
    """Hard or strict: against the lease, and near the cap never without asking."""
    if is_blocked(account):
        is_known = now_s - account.read_at_s < KNOWN_FOR_S
        return Verdict.REFUSE if is_known else Verdict.ASK
    if account.has_waiters:
        return Verdict.ASK
    if not account.is_near and account.lease.spendable(now_s) >= need:
        return Verdict.ADMIT
    if now_s < account.denied_until_s and need >= account.denied_pico_usd:
        return refusal(account, need)
    return Verdict.ASK


def is_blocked(account: Account) -> bool:
    """Posted spend has reached the cap."""
    limits, spend = account.limits, account.spend_pico_usd
    return limits is not None and spend is not None and spend >= limits.cap_pico_usd


def _noted(account: Account, need: int) -> Verdict:
    """Admitted in any case; the verdict says what the rule would have been."""
    return Verdict.ADMIT if rule_allows(account, need) else Verdict.ADMIT_ANYWAY


def rule_allows(account: Account, need: int) -> bool:
    """What hard (or strict) would say of a request, as far as memory knows."""
    limits, terms = account.limits, account.terms
    if limits is None or terms is None:
        return True
    taken = (account.spend_pico_usd or 0) + account.running_pico_usd
    if terms.enforcement is Enforcement.STRICT:
        return taken + need <= limits.cap_pico_usd
    return taken < limits.cap_pico_usd


def refusal(account: Account, need: int) -> Verdict:
    """Why there is no room: spend for the rest of the month, or holds for a moment."""
    limits, terms = account.limits, account.terms
    assert limits is not None
    assert terms is not None
    left = limits.cap_pico_usd - (account.spend_pico_usd or 0)
    # A strict hold that does not fit into what is unspent will not fit when others settle.
    needed = need if terms.enforcement is Enforcement.STRICT else 1
    return Verdict.HOLD_BACK if needed <= left else Verdict.REFUSE


def decide_in_outage(
    account: Account, need: int, *, is_override: bool, now_s: float, allowance: int | None
) -> Verdict:
    """Decide where the ledger cannot be asked; without an allowance the guard fails closed.

    Money that is granted is spent first: a lease that has not expired is as good as ever.
    """
    if account.terms is None:
        is_allowed = allowance is not None and account.lease.running + need <= allowance
        return Verdict.ADMIT if is_allowed else Verdict.UNAVAILABLE
    is_bound = account.enforces and not is_override
    if is_bound and is_blocked(account):
        return Verdict.REFUSE
    if is_bound and account.lease.spendable(now_s) >= need:
        return Verdict.ADMIT
    if allowance is None:
        return Verdict.UNAVAILABLE
    return _beyond_lease(account, need, allowance) if is_bound else _noted(account, need)


def _beyond_lease(account: Account, need: int, allowance: int) -> Verdict:
    """The last known spend, what runs, and the allowance of an outage."""
    limits, terms = account.limits, account.terms
    assert limits is not None
    assert terms is not None
    if terms.enforcement is Enforcement.STRICT:
        # Strict never overspends: what cannot be proven to fit waits for the ledger.
        return Verdict.UNAVAILABLE
    total = (account.spend_pico_usd or 0) + account.running_pico_usd + need
    if total > limits.cap_pico_usd + allowance:
        return Verdict.HOLD_BACK
    return _noted(account, need)
