"""The demo's cap, set in plain SQL: it binds at once, says so, and lets go when raised."""

import time
from decimal import Decimal

import anthropic
import asyncpg
from rich.panel import Panel

from scripts.demo_calls import CAP_USD, SONNET
from scripts.demo_ledger import ENTRY_TIMEOUT_S, on_database
from scripts.demo_screen import check, console

SET_CAP = "UPDATE ledger.team SET monthly_cap_usd = $1 WHERE name = 'demo'"
SPENT_CAP_USD = "0.03"
BINDS_WITHIN_S = 1.0


def check_cap(url: str, key: str, database_url: str) -> None:
    set_cap(database_url, SPENT_CAP_USD)
    console.print(f"[dim]{SET_CAP}; -- $1 = {SPENT_CAP_USD}[/]")
    started_s = time.monotonic()
    error = refused_call(url, key)
    while error is None and time.monotonic() - started_s < ENTRY_TIMEOUT_S:
        error = refused_call(url, key)
    bound_s = time.monotonic() - started_s
    if error is None:
        check("a spent cap refuses", is_right=False)
        return
    console.print(Panel(str(error), title="anthropic.RateLimitError", title_align="left"))
    check(f"the cap bound {bound_s * 1000:.0f} ms after the commit", bound_s < BINDS_WITHIN_S)
    named = ("Team demo has spent", f"${SPENT_CAP_USD} cap", "resets at")
    check("the message names team, cap and reset", all(word in str(error) for word in named))
    headers = error.response.headers
    check("it says that a retry is of no use", headers.get("x-should-retry") == "false")
    check("its headers say exceeded", headers.get("x-posthog-budget") == "exceeded")
    set_cap(database_url, CAP_USD)
    started_s = time.monotonic()
    while refused_call(url, key) is not None and time.monotonic() - started_s < ENTRY_TIMEOUT_S:
        time.sleep(0.01)
    check("and a higher cap lets it through again", time.monotonic() - started_s < BINDS_WITHIN_S)


def refused_call(url: str, key: str) -> anthropic.RateLimitError | None:
    with anthropic.Anthropic(base_url=url, api_key=key) as client:
        try:
            client.messages.create(
                model=SONNET, max_tokens=8, messages=[{"role": "user", "content": "More."}]
            )
        except anthropic.RateLimitError as exc:
            return exc
    return None


def set_cap(url: str, cap_usd: str) -> None:
    """As an admin does, in plain SQL."""

    async def update(connection: asyncpg.Connection) -> None:
        await connection.execute(SET_CAP, Decimal(cap_usd))

    on_database(url, update)
