"""What a run of recovery did, in figures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryReport:
    """What one run did; a settlement that the ledger had already is not in `posted_count`."""

    writer_count: int = 0
    failed_count: int = 0
    posted_count: int = 0
    estimated_count: int = 0
    dead_count: int = 0
    torn_tail_count: int = 0
    corrupt_segment_count: int = 0

    def plus(self, other: "RecoveryReport") -> "RecoveryReport":
        return RecoveryReport(
            writer_count=self.writer_count + other.writer_count,
            failed_count=self.failed_count + other.failed_count,
            posted_count=self.posted_count + other.posted_count,
            estimated_count=self.estimated_count + other.estimated_count,
            dead_count=self.dead_count + other.dead_count,
            torn_tail_count=self.torn_tail_count + other.torn_tail_count,
            corrupt_segment_count=self.corrupt_segment_count + other.corrupt_segment_count,
        )

    def for_log(self) -> dict[str, int]:
        return {
            "writers": self.writer_count,
            "failed": self.failed_count,
            "posted": self.posted_count,
            "estimated": self.estimated_count,
            "dead_letters": self.dead_count,
            "torn_tails": self.torn_tail_count,
            "corrupt_segments": self.corrupt_segment_count,
        }
