"""Does every total equal its rows, and is every row that was sent in the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import asyncpg

from gateway.postgres.sql import load_queries

_QUERIES = load_queries(Path(__file__).parent / "queries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a check found: accounts (team and month) that differ, and rows that never posted."""

    accounts: int
    entries: int
    differences: list[Mapping[str, object]]
    dead_letters: list[Mapping[str, object]]

    @property
    def is_balanced(self) -> bool:
        return not self.differences and not self.dead_letters


async def verify(connection: asyncpg.Connection, *, month: date | None) -> Verification:
    """Compare totals with rows in one snapshot, so that running posts cannot look like faults."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        accounts = await connection.fetch(_QUERIES["reconciliation"], month)
        letters = await connection.fetch(_QUERIES["unresolved_dead_letters"])
    return Verification(
        accounts=len(accounts),
        entries=sum(row["row_count"] or 0 for row in accounts),
        differences=[dict(row) for row in accounts if not row["balanced"]],
        dead_letters=[dict(row) for row in letters],
    )
