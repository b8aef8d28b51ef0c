"""One way through the gateway with its kills, and the judge of what each left."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.kill_audit import Findings
from tests.fakes.raw_client import RawAnswer
from tests.fakes.roads import Road


@dataclass
class Course:
    """One way through the gateway, and how it is killed."""

    road: Road
    kind: str = "await"
    is_warm: bool = False
    points: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    @property
    def name(self) -> str:
        return f"{self.road.name}, {'warm' if self.is_warm else 'cold'}, every {self.kind}"

    def wrong(self, kind: str, detail: object) -> None:
        self.findings.wrong(f"{self.name}, point {self.points + 1}: {kind}", detail)


def judge(course: Course, rows: Sequence[Any], answer: RawAnswer | None, received: int) -> None:
    """One request by its rows, by what the client heard, and by what the provider got."""
    road = course.road
    is_whole = answer is not None and answer.is_whole and not road.leaves
    if is_whole:
        assert answer is not None
        course.counts["heard whole"] += 1
        if answer.status != road.status or (road.whole and answer.body != road.whole):
            course.wrong("a clean end of a wrong answer", (answer.status, answer.body))
    if received > 1:
        course.wrong("sent twice", received)
    if road.amount_usd is None:
        if rows:
            course.wrong("booked and free", list(map(dict, rows)))
        return
    if len(rows) > 1:
        course.wrong("twice", list(map(dict, rows)))
    if (received or is_whole) and not rows:
        course.wrong("lost", answer)
    for row in rows:
        _judge_row(course, row, answer if is_whole else None, received)


def _judge_row(course: Course, row: Any, whole: RawAnswer | None, received: int) -> None:
    if row["usage_source"] == "exact":
        course.counts["exact"] += 1
        if row["amount_usd"] != course.road.amount_usd or not received:
            course.wrong("exact and wrong", dict(row))
    elif whole is not None:
        course.wrong("heard and not exact", dict(row))
    elif row["amount_usd"] <= 0:
        course.wrong("an estimate of nothing", dict(row))
    if whole is not None and row["entry_id"] != whole.header("x-gateway-request-id"):
        course.wrong("another id", dict(row))
    if not received:
        # The hold is in the journal before the request goes up: it may have gone, for all we know.
        course.counts["held and never sent"] += 1
        if row["outcome"] != "worker_died":
            course.wrong("never sent", dict(row))
