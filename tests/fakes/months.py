"""Months around the real one, which the database's own clock knows."""

from datetime import UTC, date, datetime, timedelta

THIS_MONTH = datetime.now(UTC).date().replace(day=1)
LAST_MONTH = (THIS_MONTH - timedelta(days=1)).replace(day=1)


def noon(month: date, day: int = 10, *, minute: int = 0) -> datetime:
    return datetime(month.year, month.month, day, 12, tzinfo=UTC) + timedelta(minutes=minute)


def text(month: date) -> str:
    return f"{month:%Y-%m}"
