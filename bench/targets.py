"""What the product may cost, and whether a run kept to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.figures import Spread, added_us, number, paired, spread
from bench.measure import Row

US_PER_MS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target and the figure beside it; `measured` None: not measured in this run."""

    says: str
    limit: float
    unit: str
    measured: Spread | None

    @property
    def is_met(self) -> bool | None:
        return None if self.measured is None else self.measured.median <= self.limit


RATIOS: tuple[tuple[str, str, float], ...] = (
    ("burst", "aiohttp", 0.50),
    ("paced", "aiohttp", 0.75),
    ("json", "aiohttp", 0.50),
    ("burst", "nginx", 2.5),
    ("paced", "nginx", 1.5),
    ("json", "nginx", 5.0),
    ("burst", "envoy", 1.5),
    ("paced", "envoy", 1.5),
    ("json", "envoy", 1.5),
)


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Every target, in the order in which it is reported."""
    found = [
        Verdict(
            says=f"CPU, {scenario}, against {_named(base)}",
            limit=limit,
            unit="x",
            measured=paired(rows, scenario, "gateway", base),
        )
        for scenario, base, limit in RATIOS
    ]
    found += [
        _time(rows, "added first byte at rest, p50", 0.5, "short", "first_byte_us", "p50"),
        _time(rows, "added first byte at rest, p99", 2.0, "short", "first_byte_us", "p99"),
        _time(rows, "added delay an event at 5,000/s, p50", 0.3, "events", "delay_us", "p50"),
        _memory(rows, "resident memory, an open stream", 32, "mem", "rss_kb_per_stream"),
        _memory(rows, "resident memory, a stalled reader", 256, "stalled", "rss_kb_per_stream"),
        _memory(rows, "kernel memory, a stalled reader", 384, "stalled", "kernel_kb_per_stream"),
        Verdict(
            says="longest wait beside prompts of 10 MB",
            limit=20.0,
            unit="ms",
            measured=_scaled(
                spread(
                    rows,
                    "prompt_10m",
                    "gateway",
                    lambda row: number(row, "probe_delay_us", "max"),
                ),
            ),
        ),
    ]
    return found


def _named(base: str) -> str:
    return "bare aiohttp" if base == "aiohttp" else base


def _time(rows: Sequence[Row], says: str, limit_ms: float, scenario: str, *path: str) -> Verdict:
    added = added_us(rows, scenario, "gateway", *path)
    return Verdict(says=says, limit=limit_ms, unit="ms", measured=_scaled(added))


def _memory(rows: Sequence[Row], says: str, limit_kb: float, scenario: str, name: str) -> Verdict:
    measured = spread(rows, scenario, "gateway", lambda row: number(row, name))
    return Verdict(says=says, limit=limit_kb, unit="KB", measured=measured)


def _scaled(spread_us: Spread | None) -> Spread | None:
    if spread_us is None:
        return None
    return Spread(
        median=spread_us.median / US_PER_MS,
        least=spread_us.least / US_PER_MS,
        most=spread_us.most / US_PER_MS,
        count=spread_us.count,
    )
