"""Accounts whose turn to be asked about comes: those that somebody waits for first."""

from itertools import chain, islice

from gateway.guard.account import Account
from gateway.postgres.batch_size import BatchSize

# Some 10 ms of the database's time.
AT_ONCE_MAX = 64
_AT_ONCE_MIN = 2


class AccountQueue:
    """Each account stands here once, however often it is put in."""

    def __init__(self) -> None:
        self.size = BatchSize(most=AT_ONCE_MAX, least=_AT_ONCE_MIN)
        self._urgent: dict[Account, None] = {}
        self._background: dict[Account, None] = {}

    def __bool__(self) -> bool:
        return bool(self._urgent or self._background)

    def put(self, account: Account, *, is_urgent: bool = False) -> None:
        (self._urgent if is_urgent else self._background)[account] = None

    def take(self) -> list[Account]:
        """The next ones; some that can wait go with the urgent ones, so that they come at all."""
        count_max = self.size.now
        others_max = min(len(self._background), count_max // 4 if self._urgent else count_max)
        urgent = islice(self._urgent, count_max - others_max)
        taken = list(dict.fromkeys(chain(urgent, islice(self._background, others_max))))
        for account in taken:
            self._urgent.pop(account, None)
            self._background.pop(account, None)
        return taken
