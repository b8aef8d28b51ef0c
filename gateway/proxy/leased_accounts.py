"""The accounts on which a lease of this worker stands, and what becomes of their leases."""

from collections.abc import Iterator
from dataclasses import replace

from gateway.domain.clock import Clock
from gateway.domain.lease import LeaseAsk
from gateway.guard.account import Account
from gateway.guard.asking import make_ask, wants_upkeep
from gateway.ledger.lease_client import LeaseClient
from gateway.proxy.budget_queue import AT_ONCE_MAX


class LeasedAccounts:
    """Each is here from its first hold until nothing stands on its lease any more."""

    def __init__(self) -> None:
        self._accounts: dict[Account, None] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts)

    def keep(self, account: Account) -> None:
        self._accounts[account] = None

    def in_need(self, *, now_s: float, renew_before_s: float) -> Iterator[Account]:
        """Once a tick: those to ask about; what is idle and empty is let go."""
        for account in list(self._accounts):
            account.demand.tick()
            if wants_upkeep(account, now_s=now_s, renew_before_s=renew_before_s):
                yield account
            elif account.lease.is_empty and account.demand.is_idle:
                del self._accounts[account]

    async def give_all_back(self, leases: LeaseClient, clock: Clock) -> None:
        """At the end of the process; what is not posted stays held until its journal is replayed.

        Raises:
            INFRASTRUCTURE_ERRORS: the database does not answer.
        """
        if not any(account.lease.running for account in self._accounts):
            await leases.close_leases()
            return
        accounts = list(self._accounts)
        for begin in range(0, len(accounts), AT_ONCE_MAX):
            now_s = clock.monotonic_s()
            asks = [_last_ask(it, now_s) for it in accounts[begin : begin + AT_ONCE_MAX]]
            answers = await leases.sync_many(asks)
            for ask in asks:
                if (ask.team_id, ask.month) not in answers:
                    # In use by a post, which is waited for.
                    await leases.sync(ask)


def _last_ask(account: Account, now_s: float) -> LeaseAsk:
    account.lease.give_back(max(account.lease.available, 0))
    return replace(make_ask(account, [], now_s), want_pico_usd=0)
