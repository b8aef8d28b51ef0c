"""What the measured gateway's ledger says afterwards: speed that loses money is none."""

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from gateway.postgres.embedded import EmbeddedPostgres

_COUNTS = """
    SELECT usage_source, count(*) AS entries, sum(amount_usd)::text AS amount_usd
    FROM ledger.ledger_entry GROUP BY usage_source ORDER BY usage_source
"""
_IS_BALANCED = "SELECT coalesce(bool_and(balanced), false) FROM ledger.reconciliation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Entries by the source of their usage, and whether the totals are the sums of the rows."""

    is_balanced: bool
    entries: dict[str, int]
    amount_usd: dict[str, str]

    def text(self) -> str:
        counted = ", ".join(f"{count:,} {source}" for source, count in self.entries.items())
        return f"{counted}; totals {'equal' if self.is_balanced else 'DIFFER FROM'} the rows"

    def document(self) -> dict[str, object]:
        return asdict(self)


def read(directory: Path) -> Books | None:
    """The ledger that a gateway left in a run's directory; None where none ran."""
    data = directory / "gateway" / "data"
    if not data.exists():
        return None
    with EmbeddedPostgres(data) as server:
        return asyncio.run(_read(server.url()))


async def _read(url: str) -> Books:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_COUNTS)
        return Books(
            is_balanced=await connection.fetchval(_IS_BALANCED),
            entries={row["usage_source"]: row["entries"] for row in rows},
            amount_usd={row["usage_source"]: row["amount_usd"] for row in rows},
        )
    finally:
        await connection.close()
