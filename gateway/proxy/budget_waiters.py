"""Requests that wait for the ledger's answer about their team's lease."""

import asyncio
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from gateway.guard.account import Account


class Outcome(Enum):
    """What a waiting request learns. HELD means that the hold is on the lease already."""

    HELD = "held"
    DENIED = "denied"
    AGAIN = "again"
    """Something else changed: decide again from memory."""


class Waiter(NamedTuple):
    """One request and what it has to hold."""

    need_pico_usd: int
    future: asyncio.Future[Outcome]


class Waiters:
    """By account; the smallest holds first, since most of them fit into what is left."""

    def __init__(self) -> None:
        self._waiting: dict[Account, list[Waiter]] = {}

    def add(self, account: Account, need: int) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, []).append(Waiter(need, future))
        account.has_waiters = True
        return future

    def of(self, account: Account) -> list[Waiter]:
        """Those who still wait, the smallest need first."""
        waiting = [w for w in self._waiting.get(account, ()) if not w.future.done()]
        if waiting:
            waiting.sort(key=lambda waiter: waiter.need_pico_usd)
            self._waiting[account] = waiting
        else:
            self._waiting.pop(account, None)
        account.has_waiters = bool(waiting)
        return list(waiting)

    def serve(
        self,
        account: Account,
        asked: Sequence[Waiter],
        spendable: int,
        now_s: float,
        *,
        was_refused: bool,
    ) -> bool:
        """Hold for those who fit; True where others remain to be asked for.

        Where none of those asked for fits and the ledger has said no, they are denied.
        """
        for waiter in self.of(account):
            if waiter.need_pico_usd > spendable:
                break
            spendable -= waiter.need_pico_usd
            account.lease.hold(waiter.need_pico_usd)
            account.demand.use(waiter.need_pico_usd)
            waiter.future.set_result(Outcome.HELD)
        left = [waiter for waiter in asked if not waiter.future.done()]
        if was_refused and left and len(left) == len(asked):
            account.denied(left[0].need_pico_usd, now_s)
            for waiter in left:
                waiter.future.set_result(Outcome.DENIED)
        return bool(self.of(account))

    def answer(self, account: Account, outcome: Outcome) -> None:
        """Tell everybody who waits for the account."""
        for waiter in self.of(account):
            waiter.future.set_result(outcome)
        self.of(account)

    def answer_all(self, outcome: Outcome) -> None:
        for account in list(self._waiting):
            self.answer(account, outcome)


def resolve(futures: Iterable[asyncio.Future[bool]], *, is_known: bool) -> None:
    """Tell those who wait for a reading."""
    for future in futures:
        if not future.done():
            future.set_result(is_known)
