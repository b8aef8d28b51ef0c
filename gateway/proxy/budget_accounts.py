"""The accounts that a worker remembers, by team and month; the longest unused are forgotten."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from gateway.domain.clock import month_end, month_of
from gateway.domain.ids import TeamId
from gateway.domain.lease import BudgetReading
from gateway.guard.account import Account

ACCOUNTS_MAX = 100_000
# Accounts with open holds are not forgotten: so many are looked at for one that can be.
_CANDIDATES = 16
_NEVER = datetime.min.replace(tzinfo=UTC)


class BudgetAccounts:
    """A month's account is made from the one of the month before, which keeps its own holds."""

    def __init__(self, accounts_max: int = ACCOUNTS_MAX) -> None:
        self._accounts_max = accounts_max
        self._table: OrderedDict[tuple[TeamId, date], Account] = OrderedDict()
        self._begins_at = self._ends_at = _NEVER
        self.month = date.min

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._table.values())

    def current(self, team_id: TeamId, now: datetime) -> Account | None:
        """The team's account in the month of `now`; None where nothing is known of the team."""
        key = (team_id, self.month_at(now))
        account = self._table.get(key)
        if account is not None:
            self._table.move_to_end(key)
            return account
        before = self._table.get((team_id, month_of(self._begins_at - timedelta(days=1))))
        return None if before is None else self._add(before.next_month(self.month))

    def open(self, team_id: TeamId, now: datetime) -> Account:
        """The same, made where nothing is known of the team."""
        account = self.current(team_id, now)
        return account if account is not None else self._add(Account(team_id, self.month))

    def find(self, team_id: TeamId, month: date) -> Account | None:
        return self._table.get((team_id, month))

    def of_teams(self, team_ids: Iterable[TeamId], now: datetime) -> list[Account]:
        """The accounts of the current month that are known."""
        found = (self.current(team_id, now) for team_id in team_ids)
        return [account for account in found if account is not None]

    def remember(self, readings: Iterable[BudgetReading], now: datetime, now_s: float) -> None:
        """Keep readings for an outage; while there is none, a team is read when it first calls."""
        for reading in readings:
            account = self.open(reading.team_id, now)
            if account.terms is None:
                posts = account.posts_seen()
                account.read(reading, epoch=account.epoch, posts=posts, now=now, now_s=now_s)
                account.changed()

    def month_at(self, now: datetime) -> date:
        if not self._begins_at <= now < self._ends_at:
            self._turn(now)
        return self.month

    def _turn(self, now: datetime) -> None:
        """Once a month, and where the clock was set."""
        self.month = month_of(now)
        self._begins_at = datetime(self.month.year, self.month.month, 1, tzinfo=UTC)
        self._ends_at = month_end(self.month)

    def _add(self, account: Account) -> Account:
        self._table[account.team_id, account.month] = account
        if len(self._table) > self._accounts_max:
            self._forget_one()
        return account

    def _forget_one(self) -> None:
        for key, account in list(islice(self._table.items(), _CANDIDATES)):
            if account.is_idle:
                del self._table[key]
                return
