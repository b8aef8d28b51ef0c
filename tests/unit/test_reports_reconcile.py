import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

from gateway.reports.reconcile import compared
from gateway.reports.rerate import admitted_at, correction_id

NOVEMBER = date(2026, 11, 1)


def test_a_day_that_only_one_side_knows_is_compared_with_nothing() -> None:
    days = compared(
        {date(2026, 11, 2): Decimal("1.5")}, {date(2026, 11, 30): Decimal(2)}, month=NOVEMBER
    )

    assert [(each.day.day, each.difference_usd) for each in days] == [
        (2, Decimal("1.5")),
        (30, Decimal(-2)),
    ]


def test_days_of_other_months_are_not_compared() -> None:
    assert (
        compared({date(2026, 12, 1): Decimal(1)}, {date(2026, 10, 31): Decimal(1)}, month=NOVEMBER)
        == []
    )


def test_an_id_of_version_7_tells_when_its_request_began() -> None:
    at = datetime(2026, 11, 25, 1, 2, 3, 456_000, tzinfo=UTC)
    entry_id = uuid.UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 1 << 63)

    assert admitted_at(entry_id) == at
    assert admitted_at(uuid.uuid4()) is None


def test_an_entry_has_one_correction_whoever_asks() -> None:
    entry_id = uuid.uuid4()

    assert correction_id(entry_id) == correction_id(entry_id)
    assert correction_id(entry_id) != correction_id(uuid.uuid4())
