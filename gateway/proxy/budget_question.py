"""What one account asks the ledger for, and what the answer does to those who wait for it."""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.domain.lease import LeaseAnswer, LeaseAsk
from gateway.guard.account import Account
from gateway.guard.asking import make_ask, take_answer, was_refused
from gateway.ledger.lease_client import LeaseKey
from gateway.proxy.budget_waiters import Outcome, Waiter, Waiters


class Question(NamedTuple):
    """It can be asked again where no answer came: its counters only grow."""

    account: Account
    asked: Sequence[Waiter]
    """Who waited when it was put; more may have come since."""
    ask: LeaseAsk
    granted_before: int
    posts: int
    started_s: float

    @classmethod
    def of(cls, account: Account, waiters: Waiters, now_s: float) -> "Question":
        asked = waiters.of(account)
        return cls(
            account=account,
            asked=asked,
            ask=make_ask(account, [waiter.need_pico_usd for waiter in asked], now_s),
            granted_before=account.lease.granted,
            posts=account.posts_seen(),
            started_s=now_s,
        )

    @property
    def key(self) -> LeaseKey:
        return self.ask.team_id, self.ask.month

    def take(
        self, answer: LeaseAnswer, waiters: Waiters, *, own_ttl_s: float, now_s: float
    ) -> bool:
        """Grant the lease and serve who waits; True where the account is to be asked for again."""
        account = self.account
        spendable = take_answer(
            account,
            self.ask,
            answer,
            granted_before=self.granted_before,
            expires_at_s=self.started_s + own_ttl_s,
        )
        account.answered(answer, self.ask, posts=self.posts, now_s=now_s)
        if account.is_stale or not account.enforces:
            waiters.answer(account, Outcome.AGAIN)
            return False
        refused = was_refused(self.ask, answer, granted_before=self.granted_before)
        return waiters.serve(account, self.asked, spendable, now_s, was_refused=refused)
