"""CPU by process: what was used between two looks, whichever processes came and went."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from bench.processes import cpu_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Seconds of CPU by process; one that has ended since is left out, a new one began at 0."""

    own: dict[int, float]
    database: dict[int, float]

    @classmethod
    def now(cls, own: Iterable[int], database: Iterable[int]) -> Self:
        """CPU so far of these processes."""
        return cls(
            own={pid: cpu_s(pid) for pid in own}, database={pid: cpu_s(pid) for pid in database}
        )

    def since(self, before: "Clocks") -> tuple[float, float]:
        """Of its own, and of its database."""
        return _since(self.own, before.own), _since(self.database, before.database)


def _since(after: dict[int, float], before: dict[int, float]) -> float:
    return sum(max(0.0, seconds - before.get(pid, 0.0)) for pid, seconds in after.items())
