"""Does every total equal its rows, is every closed month as it was, and did every row post."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from pathlib import Path

import asyncpg

from gateway.postgres.sql import load_queries

_QUERIES = load_queries(Path(__file__).parent / "queries")
# 128 MiB of each partition: some 250,000 rows, which take a fraction of a second.
_PAGES_AT_ONCE = 16_384
# A page of a closed month is read once more for its digest, which is this much more work.
_DIGEST_WEIGHT = 12
_ZERO = Decimal(0)
# As many digits as a NUMERIC can have: a sum that rounds would hide a difference, or make one.
_EXACT = Context(prec=150_000, Emax=MAX_EMAX, Emin=MIN_EMIN)

Progress = Callable[[int, int], None]
"""Told how much is done, of how much in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a check found: accounts (team and month), closed months, rows that are not right."""

    accounts: int
    entries: int
    closed_months: int
    differences: list[Mapping[str, object]]
    altered_months: list[Mapping[str, object]]
    dead_letters: list[Mapping[str, object]]

    @property
    def is_balanced(self) -> bool:
        return not self.differences and not self.altered_months and not self.dead_letters


@dataclass(slots=True)
class _Account:
    """A team's month: what its total says, and what its rows add up to."""

    spend_usd: Decimal | None = None
    entry_count: int | None = None
    rows_usd: Decimal = _ZERO
    row_count: int = 0

    @property
    def is_balanced(self) -> bool:
        # A total without rows is a difference, and so are rows without a total.
        return (
            self.row_count > 0
            and self.spend_usd == self.rows_usd
            and self.entry_count == self.row_count
        )


@dataclass(slots=True)
class _Check:
    """One run, in one snapshot."""

    connection: asyncpg.Connection
    month: date | None
    progress: Progress
    accounts: dict[tuple[int, date], _Account] = field(default_factory=dict)
    done: int = 0
    work: int = 1

    async def run(self) -> Verification:
        # A plan for the month that is asked for reads its partition alone.
        await self.connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        pages = [
            int(row["pages"])
            for row in await self.connection.fetch(_QUERIES["verify_pages"], self.month)
        ]
        closed = await self.connection.fetch(_QUERIES["verify_closed"], self.month)
        self.work = max(1, sum(pages) * (1 + _DIGEST_WEIGHT * bool(closed)))
        await self._totals()
        await self._rows(pages)
        altered = await self._altered(closed, sum(pages))
        letters = await self.connection.fetch(_QUERIES["unresolved_dead_letters"])
        self.progress(self.work, self.work)
        return Verification(
            accounts=len(self.accounts),
            entries=sum(account.row_count for account in self.accounts.values()),
            closed_months=len(closed),
            differences=[
                _difference(key, account)
                for key, account in sorted(self.accounts.items(), key=lambda item: item[0][::-1])
                if not account.is_balanced
            ],
            altered_months=altered,
            dead_letters=[dict(row) for row in letters],
        )

    async def _totals(self) -> None:
        for row in await self.connection.fetch(_QUERIES["verify_totals"], self.month):
            account = self._account(row)
            account.spend_usd, account.entry_count = row["spend_usd"], row["entry_count"]

    async def _rows(self, pages: Sequence[int]) -> None:
        for start in range(0, max(pages, default=0), _PAGES_AT_ONCE):
            end = start + _PAGES_AT_ONCE
            found = await self.connection.fetch(
                _QUERIES["verify_rows"], f"({start},0)", f"({end},0)", self.month
            )
            for row in found:
                account = self._account(row)
                account.rows_usd = _EXACT.add(account.rows_usd, row["rows_usd"])
                account.row_count += row["row_count"]
            self._advance(sum(min(end, count) - min(start, count) for count in pages))

    async def _altered(
        self, closed: Sequence[asyncpg.Record], pages: int
    ) -> list[Mapping[str, object]]:
        """Closed months whose rows are not those of their close."""
        altered: list[Mapping[str, object]] = []
        sums = {period["month"]: (0, _ZERO) for period in closed}
        for (_, month), account in self.accounts.items():
            if month in sums:
                count, total_usd = sums[month]
                sums[month] = (count + account.row_count, _EXACT.add(total_usd, account.rows_usd))
        entries = max(1, sum(count for count, _ in sums.values()))
        for period in closed:
            count, total_usd = sums[period["month"]]
            digest = await self.connection.fetchval(_QUERIES["verify_digest"], period["month"])
            is_same = (count, total_usd, digest) == (
                period["entry_count"],
                period["total_usd"],
                period["digest"],
            )
            if not is_same:
                altered.append(
                    {
                        "month": period["month"],
                        "closed_usd": period["total_usd"],
                        "rows_usd": total_usd,
                        "closed_count": period["entry_count"],
                        "row_count": count,
                        "closed_digest": period["digest"].hex(),
                        "digest": digest.hex(),
                    }
                )
            self._advance(pages * _DIGEST_WEIGHT * count // entries)
        return altered

    def _account(self, row: asyncpg.Record) -> _Account:
        return self.accounts.setdefault((row["team_id"], row["month"]), _Account())

    def _advance(self, work: int) -> None:
        self.done = min(self.work, self.done + work)
        self.progress(self.done, self.work)


async def verify(
    connection: asyncpg.Connection, *, month: date | None, progress: Progress = lambda *_: None
) -> Verification:
    """Compare totals with rows in one snapshot, so that running posts cannot look like faults."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _Check(connection, month, progress).run()


def _difference(key: tuple[int, date], account: _Account) -> Mapping[str, object]:
    return {
        "team_id": key[0],
        "month": key[1],
        "spend_usd": account.spend_usd,
        "rows_usd": account.rows_usd,
        "entry_count": account.entry_count,
        "row_count": account.row_count,
    }
