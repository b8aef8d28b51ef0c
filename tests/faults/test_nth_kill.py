"""A SIGKILL at every suspension point of a request, and what recovery makes of it."""

from decimal import Decimal

import pytest

from scripts.nth_course import Course, judge
from scripts.nth_killer import kill_paths
from tests.fakes.raw_client import RawAnswer
from tests.fakes.roads import ROADS

pytestmark = pytest.mark.timeout(120)
STREAM, ONE_PIECE = (
    next(road for road in ROADS if road.name == name)
    for name in ("a stream", "an answer in one piece, under a cap")
)


@pytest.mark.parametrize("road", [STREAM, ONE_PIECE], ids=lambda road: road.name)
async def test_a_kill_at_any_await_loses_nothing(database_url, tmp_path, road):
    """Goal: the ledger has a request that a killed gateway had sent, once; its clients are not deceived.

    Method: one gateway a point, from `make nth-kill`, which kills the other paths, too.
    """
    courses = [Course(road), Course(road, is_warm=True)]
    await kill_paths(courses, database_url, tmp_path)
    for course in courses:
        assert course.findings.violations == []
        # The last gateway was not killed, and its client heard everything.
        assert course.counts["heard whole"] > 0
        assert course.counts["exact"] > 0
    cold, warm = courses
    assert cold.points > warm.points > 0
    # A kill before the hold leaves nothing, one after it an estimate.
    assert 0 < cold.counts["estimated"] < cold.points


def answer(body=None, **changes):
    fields = {"status": 200, "headers": [("x-gateway-request-id", "one")], "is_whole": True}
    pieces = [(0.0, STREAM.whole if body is None else body)]
    return RawAnswer(**{**fields, "pieces": pieces, **changes})


def row(**changes):
    fields = {
        "entry_id": "one",
        "amount_usd": STREAM.amount_usd,
        "usage_source": "exact",
        "outcome": None,
    }
    return {**fields, **changes}


ESTIMATE = {"usage_source": "estimated", "outcome": "worker_died", "amount_usd": Decimal("0.001")}


@pytest.mark.parametrize(
    ("rows", "heard", "received", "kinds"),
    [
        ([row()], answer(), 1, set()),
        ([row(**ESTIMATE)], None, 1, set()),
        ([row(**ESTIMATE)], None, 0, set()),
        ([], None, 0, set()),
        ([], None, 1, {"lost"}),
        ([row(), row()], answer(), 1, {"twice"}),
        ([row()], answer(b"another"), 1, {"a clean end of a wrong answer"}),
        ([row(**ESTIMATE)], answer(), 1, {"heard and not exact"}),
        ([row(**{**ESTIMATE, "amount_usd": Decimal(0)})], None, 1, {"an estimate of nothing"}),
        ([row(amount_usd=Decimal(1))], None, 1, {"exact and wrong"}),
        ([row(entry_id="two")], answer(), 1, {"another id"}),
        ([row(**{**ESTIMATE, "outcome": "cut"})], None, 0, {"never sent"}),
    ],
)
def test_the_judge_sees_what_is_wrong(rows, heard, received, kinds):
    course = Course(STREAM)
    judge(course, rows, heard, received)
    assert {each.split(": ")[1] for each in course.findings.violations} == kinds
