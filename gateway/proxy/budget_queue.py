"""Accounts whose turn to be asked about comes: those that somebody waits for first."""

from itertools import chain, islice

from gateway.guard.account import Account

# Some 10 ms of the database's time.
AT_ONCE_MAX = 64
# After a time-out the database gets less to do at once, so that a slow one gets something done.
_SHRINK = 4
_GROW = 2
_AT_ONCE_MIN = 2


class AccountQueue:
    """Each account stands here once, however often it is put in."""

    def __init__(self) -> None:
        self._at_once_max = AT_ONCE_MAX
        self._urgent: dict[Account, None] = {}
        self._background: dict[Account, None] = {}

    def __bool__(self) -> bool:
        return bool(self._urgent or self._background)

    def put(self, account: Account, *, is_urgent: bool = False) -> None:
        (self._urgent if is_urgent else self._background)[account] = None

    def was_answered(self) -> None:
        self._at_once_max = min(self._at_once_max * _GROW, AT_ONCE_MAX)

    def timed_out(self) -> None:
        """What was taken was too much to be asked about in time."""
        self._at_once_max = max(self._at_once_max // _SHRINK, _AT_ONCE_MIN)

    def take(self) -> list[Account]:
        """The next ones; some that can wait go with the urgent ones, so that they come at all."""
        count_max = self._at_once_max
        others_max = min(len(self._background), count_max // 4 if self._urgent else count_max)
        urgent = islice(self._urgent, count_max - others_max)
        taken = list(dict.fromkeys(chain(urgent, islice(self._background, others_max))))
        for account in taken:
            self._urgent.pop(account, None)
            self._background.pop(account, None)
        return taken
