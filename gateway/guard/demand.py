"""How much of a budget a worker uses, hence how large a slice of it to keep at hand."""

# With a tick of 0.1 s the average settles at half a second's use, a slice at two seconds' worth.
_KEPT_NUMERATOR, _KEPT_DENOMINATOR = 4, 5
_SLICE_FACTOR = 4
_IDLE_TICKS = 5


class Demand:
    """A decaying sum of holds.

    Within a tick it grows with every hold, so that a burst asks for four times what it used so far:
    geometric, a few asks whatever its size.
    """

    __slots__ = ("_average", "_idle_ticks", "_used")

    def __init__(self) -> None:
        self._average = 0
        self._used = 0
        self._idle_ticks = 0

    @property
    def is_idle(self) -> bool:
        return self._idle_ticks >= _IDLE_TICKS

    @property
    def slice_pico_usd(self) -> int:
        return 0 if self.is_idle else _SLICE_FACTOR * (self._average + self._used)

    def slice_after(self, need: int) -> int:
        """The slice once these holds are made too: who asks for them asks for what follows."""
        return self.slice_pico_usd + _SLICE_FACTOR * need

    def use(self, amount: int) -> None:
        self._used += amount
        self._idle_ticks = 0

    def tick(self) -> None:
        if not self._used:
            self._idle_ticks += 1
        self._average = self._average * _KEPT_NUMERATOR // _KEPT_DENOMINATOR + self._used
        self._used = 0
