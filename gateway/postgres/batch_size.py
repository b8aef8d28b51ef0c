"""How much the database gets to do at once, by whether it answers in time."""

# So that a slow database gets something done; what it managed is doubled until all goes again.
_SHRINK = 4
_GROW = 2


class BatchSize:
    """The present limit of a batch, between the least and the most."""

    def __init__(self, *, most: int, least: int = 1) -> None:
        self._most = most
        self._least = least
        self.now = most

    def answered(self) -> None:
        self.now = min(self._most, self.now * _GROW)

    def timed_out(self) -> None:
        """What was asked for was too much to be done in time."""
        self.now = max(self._least, self.now // _SHRINK)
