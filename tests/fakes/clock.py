"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Wall clock and monotonic clock that move together."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime(2026, 11, 15, 12, 0, tzinfo=UTC)
        self._monotonic_s = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def set(self, now: datetime) -> None:
        """Jump to a moment; monotonic time only ever goes forward."""
        self._monotonic_s += max(0.0, (now - self._now).total_seconds())
        self._now = now
