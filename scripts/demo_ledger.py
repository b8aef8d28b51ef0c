"""The demo's look at the ledger: every row by hand, and their total."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

import asyncpg
from rich.table import Table

from scripts.demo_calls import GPT, SONNET
from scripts.demo_screen import check, console

ENTRY_TIMEOUT_S = 10.0
# USD per million tokens, so that the ledger's amounts are computed here a second time.
RATES = {
    SONNET: {
        "input_uncached_tokens": "3",
        "cache_read_tokens": "0.30",
        "cache_write_5m_tokens": "3.75",
        "cache_write_1h_tokens": "6",
        "output_tokens": "15",
    },
    GPT: {"input_uncached_tokens": "0.15", "cache_read_tokens": "0.075", "output_tokens": "0.60"},
}
_Result = TypeVar("_Result")


def on_database(url: str, work: Callable[[asyncpg.Connection], Awaitable[_Result]]) -> _Result:
    async def run() -> _Result:
        connection = await asyncpg.connect(url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def rows_of(url: str, count: int) -> list[asyncpg.Record]:
    """The ledger's rows in order, once there are `count`."""

    async def wait(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        deadline_s = time.monotonic() + ENTRY_TIMEOUT_S
        while True:
            rows = await connection.fetch("SELECT * FROM ledger.ledger_entry ORDER BY entry_id")
            if len(rows) >= count or time.monotonic() > deadline_s:
                return list(rows)
            await asyncio.sleep(0.05)

    return on_database(url, wait)


def amount_by_hand(row: asyncpg.Record) -> Decimal:
    rates = RATES[row["request_model"]]
    return sum((row[name] * Decimal(rate) for name, rate in rates.items()), Decimal(0)) / 1_000_000


def show_ledger(rows: list[asyncpg.Record]) -> None:
    table = Table(title="ledger.ledger_entry", title_justify="left")
    columns = {
        "entry": lambda row: f"…{str(row['entry_id'])[-6:]}",
        "product": lambda row: row["product"],
        "model": lambda row: row["request_model"],
        "in": lambda row: row["input_uncached_tokens"],
        "read": lambda row: row["cache_read_tokens"],
        "5m": lambda row: row["cache_write_5m_tokens"],
        "1h": lambda row: row["cache_write_1h_tokens"],
        "out": lambda row: row["output_tokens"],
        "amount_usd": lambda row: f"{row['amount_usd']:f}",
        "source": lambda row: row["usage_source"],
    }
    for name in columns:
        table.add_column(name, justify="left" if name in {"product", "model"} else "right")
    for row in rows:
        table.add_row(*(str(show(row)) for show in columns.values()))
    console.print(table)


def check_ledger(url: str) -> list[asyncpg.Record]:
    rows = rows_of(url, 4)
    show_ledger(rows)
    check("each of the four generations is one row", len(rows) == 4, len(rows))
    check(
        "each amount is tokens times rate, to the last digit",
        all(row["amount_usd"] == amount_by_hand(row) for row in rows),
        [(row["amount_usd"], amount_by_hand(row)) for row in rows],
    )
    check("each usage is exact", {row["usage_source"] for row in rows} == {"exact"})
    first = rows[0]
    check(
        "Save Mode raised the breakpoint: a one-hour cache write, none of five minutes",
        first["cache_write_1h_tokens"] > 0 and first["cache_write_5m_tokens"] == 0,
        dict(first),
    )

    async def totals(connection: asyncpg.Connection) -> tuple[Decimal, bool]:
        row = await connection.fetchrow("SELECT spend_usd, balanced FROM ledger.reconciliation")
        return row["spend_usd"], row["balanced"]

    spend, is_balanced = on_database(url, totals)
    total = sum(row["amount_usd"] for row in rows)
    check(f"the team's total is the sum of its rows: ${spend:f}", spend == total and is_balanced)
    return rows
