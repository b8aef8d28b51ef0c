"""Token counts in a provider's usage object, read with suspicion."""

from collections.abc import Mapping, Sequence

# A hundred times the largest context window: nobody generates this.
_TOKENS_ABSURD = 10**8


class CountReader:
    """Reads counts as whole numbers from zero; one that is none reads as zero and is noted."""

    __slots__ = ("is_doubtful",)

    def __init__(self) -> None:
        self.is_doubtful = False

    def count(self, holder: Mapping[str, object], *names: str) -> int:
        """The first of these that is there, zero where none is."""
        for name in names:
            value = holder.get(name)
            if value is not None:
                return self._whole(value)
        return 0

    def rest(self, total: int, *parts: int) -> int:
        """What the parts leave of a total; where they leave less than nothing, that is noted."""
        left = total - sum(parts)
        if left < 0:
            self.is_doubtful = True
            return 0
        return left

    def _whole(self, value: object) -> int:
        if type(value) is int and 0 <= value < _TOKENS_ABSURD:
            return value
        if type(value) is float and value.is_integer() and 0 <= value < _TOKENS_ABSURD:
            return int(value)
        self.is_doubtful = True
        return 0


def output_left(
    usage: Mapping[str, object],
    *,
    totals: Sequence[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> int:
    """What the total leaves for an output whose own count is none; zero where there is no telling.

    Of `totals` the first that is there counts, of the others all.
    """
    output, reader = CountReader(), CountReader()
    for name in outputs:
        output.count(usage, name)
    total = reader.count(usage, *totals)
    left = reader.rest(total, *(reader.count(usage, name) for name in inputs))
    return left if output.is_doubtful and not reader.is_doubtful else 0
