"""Spend of a month, grouped, straight from the entries."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Literal, get_args

import asyncpg

from gateway.postgres.sql import load_queries

SpendBy = Literal["team", "model", "key", "product", "day"]
SPEND_BY: tuple[SpendBy, ...] = get_args(SpendBy)
_QUERIES = load_queries(Path(__file__).parent / "queries")


async def spend_by(
    connection: asyncpg.Connection, *, month: date, by: SpendBy
) -> list[Mapping[str, object]]:
    """One row a group, the dearest first (days in their order); amounts are exact dollars."""
    rows = await connection.fetch(_QUERIES[f"spend_by_{by}"], month)
    return [dict(row) for row in rows]
