"""What a worker asks the ledger for, and how much of an answer it may spend."""

from collections.abc import Sequence

from gateway.domain.budget import Enforcement
from gateway.domain.lease import LeaseAnswer, LeaseAsk
from gateway.guard.account import Account


def make_ask(account: Account, needs: Sequence[int], now_s: float) -> LeaseAsk:
    """Ask for the waiting holds (`needs`, smallest first) or a slice; give surplus back with it.

    Near the cap everything idle goes back in the same call that asks for more. Else overruns would
    be covered by new grants while what others released is spent again.
    """
    lease = account.lease
    if now_s >= lease.expires_at_s:
        lease.expire()
    need, first = sum(needs), needs[0] if needs else 0
    available = max(lease.available, 0)
    if account.is_near or not account.enforces:
        lease.give_back(available)
        want, least, is_exact = need, first, True
    else:
        kept = account.demand.slice_after(need)
        if not needs and (available > 2 * kept or account.demand.is_idle):
            lease.give_back(max(available - kept, 0))
            available = min(available, kept)
        want, least, is_exact = max(need, kept) - available, max(first - available, 0), False
    wants = account.enforces
    return LeaseAsk(
        team_id=account.team_id,
        month=account.month,
        committed_pico_usd=lease.committed,
        consumed_pico_usd=lease.consumed,
        returned_pico_usd=lease.returned,
        want_pico_usd=max(want, 0) if wants else 0,
        min_pico_usd=least if wants else 0,
        is_exact=is_exact,
        may_cross=account.terms is not None and account.terms.enforcement is Enforcement.HARD,
    )


def take_answer(
    account: Account,
    ask: LeaseAsk,
    answer: LeaseAnswer,
    *,
    granted_before: int,
    expires_at_s: float,
) -> int:
    """Grant the lease; how much of it the holds that waited may take.

    Near the cap only what this answer added: what was released meanwhile goes back first.
    """
    lease = account.lease
    lease.grant(answer.granted_pico_usd, expires_at_s)
    if not ask.is_exact:
        return lease.available
    added = answer.granted_pico_usd - max(granted_before, ask.committed_pico_usd)
    return min(added, lease.available)


def was_refused(ask: LeaseAsk, answer: LeaseAnswer, *, granted_before: int) -> bool:
    """The ledger granted nothing, although somebody waits for it.

    Where it did grant and nobody is served, overruns took it meanwhile, or it had ended the lease
    that was counted on: then it is asked again.
    """
    unmoved = {ask.committed_pico_usd, max(granted_before, ask.committed_pico_usd)}
    return ask.min_pico_usd > 0 and answer.granted_pico_usd in unmoved


def wants_slice(account: Account) -> bool:
    """Ask ahead of need: less than a quarter of a slice is left, half a second's worth."""
    if account.is_near or not account.enforces:
        return False
    return 4 * account.lease.available < account.demand.slice_pico_usd


def wants_upkeep(account: Account, *, now_s: float, renew_before_s: float) -> bool:
    """Between requests: surplus to give back, an overrun to tell, a lease to renew."""
    lease = account.lease
    available = lease.available
    if available < 0 or account.is_in_doubt:
        return True
    if available > 0:
        kept = 0 if account.is_near or not account.enforces else account.demand.slice_pico_usd
        if available > 2 * kept:
            return True
    return not lease.is_empty and lease.expires_at_s - now_s < renew_before_s
