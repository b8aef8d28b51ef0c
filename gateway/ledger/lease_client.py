"""Speaks with the ledger about budgets: leases of them, and what the guard has to know."""

import uuid
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg

from gateway.domain.budget import BudgetTerms, Enforcement, SaveModeSetting
from gateway.domain.ids import TeamId
from gateway.domain.lease import BudgetReading, LeaseAnswer, LeaseAsk
from gateway.domain.money import pico_from_usd, usd_from_pico
from gateway.postgres.arrays import array, booleans, decimals, integers
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.sql import load_queries

LeaseKey: TypeAlias = tuple[TeamId, date]
_QUERIES: Final = load_queries(Path(__file__).parent / "queries")
# Longer than a replay of a dead worker's journal takes, which ends its leases; a host that is gone
# keeps its teams' money for so long.
LEASE_TTL_S: Final = 300.0
# Our own end of a lease comes before the ledger's, whatever the clocks do meanwhile.
_MARGIN_S = 5.0
# A request may wait for this, twice.
_TIMEOUT_S = 0.9
_LONG_TIMEOUT_S = 2.0


class LeaseClient:
    """One writer's leases, over a connection of its own; one question at a time."""

    def __init__(
        self,
        connection: DedicatedConnection,
        *,
        writer_id: uuid.UUID,
        ttl_s: float = LEASE_TTL_S,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._connection = connection
        self._writer_id = writer_id
        self._timeout_s = timeout_s
        self.ttl_s = ttl_s
        self.sync_count = 0
        self.reading_count = 0

    @property
    def own_ttl_s(self) -> float:
        """How long a lease may be spent from, counted from the question."""
        return self.ttl_s - _MARGIN_S

    async def sync(self, ask: LeaseAsk) -> LeaseAnswer:
        """Bring the counters in and ask for more; it can be sent again where no answer came.

        Raises:
            INFRASTRUCTURE_ERRORS: no answer; the ledger may have granted all the same.
        """
        self.sync_count += 1
        async with self._connection.use(timeout_s=self._timeout_s) as lent:
            row = await lent.fetchrow(
                _QUERIES["lease_sync"],
                self._writer_id,
                ask.team_id,
                ask.month,
                usd_from_pico(ask.committed_pico_usd),
                usd_from_pico(ask.consumed_pico_usd),
                usd_from_pico(ask.returned_pico_usd),
                usd_from_pico(ask.want_pico_usd),
                usd_from_pico(ask.min_pico_usd),
                ask.is_exact,
                ask.may_cross,
                timedelta(seconds=self.ttl_s),
            )
        assert row is not None
        return _answer_in(row)

    async def sync_many(self, asks: Sequence[LeaseAsk]) -> dict[LeaseKey, LeaseAnswer]:
        """The same for many leases, of as many teams, in one question.

        A lease is left out while a post of this writer holds it: asked for alone, it waits.

        Raises:
            INFRASTRUCTURE_ERRORS, DATA_ERRORS: as `sync`, for all of them.
        """
        self.sync_count += 1
        async with self._connection.use(timeout_s=self._timeout_s) as lent:
            rows = await lent.fetch(
                _QUERIES["lease_sync_many"],
                self._writer_id,
                integers(ask.team_id for ask in asks),
                array(ask.month.isoformat() for ask in asks),
                decimals(usd_from_pico(ask.committed_pico_usd) for ask in asks),
                decimals(usd_from_pico(ask.consumed_pico_usd) for ask in asks),
                decimals(usd_from_pico(ask.returned_pico_usd) for ask in asks),
                decimals(usd_from_pico(ask.want_pico_usd) for ask in asks),
                decimals(usd_from_pico(ask.min_pico_usd) for ask in asks),
                booleans(ask.is_exact for ask in asks),
                booleans(ask.may_cross for ask in asks),
                timedelta(seconds=self.ttl_s),
            )
        return {(row["team_id"], row["month"]): _answer_in(row) for row in rows}

    async def read(self, team_ids: Sequence[TeamId] | None, month: date) -> list[BudgetReading]:
        """What the ledger knows of these teams (None: of all); unknown ones are left out.

        Raises:
            INFRASTRUCTURE_ERRORS: no answer.
        """
        self.reading_count += 1
        async with self._connection.use(timeout_s=self._timeout_s) as lent:
            rows = await lent.fetch(_QUERIES["team_budgets"], team_ids, month)
        return [
            BudgetReading(
                team_id=TeamId(row["team_id"]),
                terms=BudgetTerms(
                    cap_usd=row["cap_usd"],
                    warn_at=row["warn_at"],
                    engage_at=row["engage_at"],
                    enforcement=Enforcement(row["enforcement"]),
                    save_mode=SaveModeSetting(row["save_mode"]),
                    next_change_at=row["next_change_at"],
                ),
                spend_usd=row["spend_usd"],
                held_usd=row["held_usd"],
            )
            for row in rows
        ]

    async def expire(self) -> None:
        """Mark leases of anybody whose time is over; they count no more as it is."""
        async with self._connection.use(timeout_s=_LONG_TIMEOUT_S) as lent:
            await lent.execute(_QUERIES["lease_expire"])

    async def close_leases(self) -> None:
        """End all leases of this writer, when nothing stands on them any more."""
        async with self._connection.use(timeout_s=_LONG_TIMEOUT_S) as lent:
            await lent.execute(_QUERIES["lease_close"], self._writer_id)


def _answer_in(row: asyncpg.Record) -> LeaseAnswer:
    return LeaseAnswer(
        # A grant finer than a pico-USD is not spent.
        granted_pico_usd=-pico_from_usd(-row["granted_usd"]),
        spend_usd=row["spend_usd"],
        held_usd=row["held_usd"],
        cap_usd=row["cap_usd"],
        next_change_at=row["next_change_at"],
    )
