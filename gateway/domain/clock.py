"""Time as a value that is passed in, so that tests can move it."""

import time
from datetime import UTC, date, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time for records, monotonic time for durations."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


def month_of(at: datetime) -> date:
    """First day of the UTC calendar month."""
    at = at.astimezone(UTC)
    return date(at.year, at.month, 1)


def month_end(month: date) -> datetime:
    """The instant at which the budget of a month resets: the first of the next, 00:00 UTC."""
    if month.month == 12:  # noqa: PLR2004 - December.
        return datetime(month.year + 1, 1, 1, tzinfo=UTC)
    return datetime(month.year, month.month + 1, 1, tzinfo=UTC)


def rfc3339(at: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as in `2026-12-01T00:00:00Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
