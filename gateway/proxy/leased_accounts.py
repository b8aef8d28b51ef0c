"""The accounts on which a lease of this worker stands, and what becomes of their leases."""

from collections.abc import Iterator
from dataclasses import replace

from gateway.domain.clock import Clock
from gateway.guard.account import Account
from gateway.guard.asking import make_ask, wants_upkeep
from gateway.ledger.lease_client import LeaseClient


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
        for account in list(self._accounts):
            lease = account.lease
            lease.give_back(max(lease.available, 0))
            ask = make_ask(account, [], clock.monotonic_s())
            await leases.sync(replace(ask, want_pico_usd=0))
