"""From rows to figures: medians, and ratios of CPU paired within a round."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.measure import Row
from bench.scenarios import BY_NAME

BASE = "aiohttp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, extremes and number of what was measured."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        found = list(values)
        if not found:
            return None
        return cls(
            median=statistics.median(found), least=min(found), most=max(found), count=len(found)
        )

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} [{self.least:.{digits}f}-{self.most:.{digits}f}]"


def cpu_of(row: Row) -> float:
    """Microseconds a request, or milliseconds per 1,000 events, as the scenario counts."""
    per_event = BY_NAME[str(row["scenario"])].per_event
    return number(row, "cpu_ms_per_1000_events" if per_event else "cpu_us_per_request")


def number(row: Row, *path: str) -> float:
    """A number inside a row; NaN where it was not measured."""
    value: object = row
    for name in path:
        if not isinstance(value, dict) or value.get(name) is None:
            return float("nan")
        value = value[name]
    return float(str(value))


def of(rows: Sequence[Row], scenario: str, contender: str) -> list[Row]:
    return [row for row in rows if (row["scenario"], row["contender"]) == (scenario, contender)]


def spread(
    rows: Sequence[Row], scenario: str, contender: str, value: Callable[[Row], float]
) -> Spread | None:
    return Spread.of(
        found for row in of(rows, scenario, contender) if (found := value(row)) == found
    )


def paired(
    rows: Sequence[Row],
    scenario: str,
    contender: str,
    base: str,
    *,
    value: Callable[[Row], float] = cpu_of,
    combine: Callable[[float, float], float] = lambda mine, other: mine / other,
) -> Spread | None:
    """One figure a round, from the contender's and the base's of the same round."""
    others = {row["round"]: value(row) for row in of(rows, scenario, base)}
    pairs = (
        (value(row), others[row["round"]])
        for row in of(rows, scenario, contender)
        if row["round"] in others
    )
    return Spread.of(combine(mine, other) for mine, other in pairs if mine == mine and other > 0)


def added_us(rows: Sequence[Row], scenario: str, contender: str, *path: str) -> Spread | None:
    """Time that a contender adds to that of no proxy in the same round."""
    return paired(
        rows,
        scenario,
        contender,
        "direct",
        value=lambda row: number(row, *path),
        combine=lambda mine, other: mine - other,
    )
