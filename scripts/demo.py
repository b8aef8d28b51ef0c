"""Walk through the main job with the official SDKs: stream, budget, ledger, event, cap.

Starts everything on free ports and in a temporary directory: `gateway serve --demo` with its
own PostgreSQL and the simulated provider, and a PostHog double. Exit status 0 only if all of it is
right.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import asyncpg
import openai
from rich.console import Console
from rich.json import JSON
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table

from tests.fakes.background import Background
from tests.fakes.posthog import FakePostHog
from tests.fixtures.process import GatewayProcess, wait_until_gone

SONNET, GPT = "claude-sonnet-4-6", "gpt-4o-mini"
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
SET_CAP = "UPDATE ledger.team SET monthly_cap_usd = $1 WHERE name = 'demo'"
CAP_USD = "25.00"
BINDS_WITHIN_S = 1.0
ENTRY_TIMEOUT_S = 10.0
GONE_WITHIN_S = 3.0
COST_TOLERANCE_USD = 1e-9
# Long enough to cost some cents.
RULES = "You are the accountant of a small orchestra. Answer briefly and count twice. " * 400
SPENT_CAP_USD = "0.03"
SHOWN_PROPERTIES = (
    "$ai_provider",
    "$ai_model",
    "$ai_input_tokens",
    "$ai_output_tokens",
    "$ai_cache_read_input_tokens",
    "$ai_cache_creation_1h_input_tokens",
    "$ai_input_cost_usd",
    "$ai_output_cost_usd",
    "$ai_total_cost_usd",
    "$ai_latency",
    "$ai_time_to_first_token",
    "$ai_stream",
    "$ai_trace_id",
    "ai_product",
    "team",
    "budget_status",
    "save_mode",
    "cache_ttl_upgraded",
    "usage_source",
    "feature",
    "$feature/new-prompt",
)

_Result = TypeVar("_Result")
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
failures: list[str] = []


def check(claim: str, is_right: object, seen: object = None) -> None:
    """Say whether a claim holds; one that does not makes the demo fail at its end."""
    if is_right:
        console.print(f"  [green]✓[/] {claim}")
    else:
        failures.append(claim)
        console.print(f"  [bold red]✗ {claim}[/]")
        console.print(f"    seen: {seen!r}", markup=False)


def chapter(title: str) -> None:
    console.print()
    console.print(Rule(f"[bold]{title}", align="left"))


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


def set_cap(url: str, cap_usd: str) -> None:
    """As an admin does, in plain SQL."""

    async def update(connection: asyncpg.Connection) -> None:
        await connection.execute(SET_CAP, Decimal(cap_usd))

    on_database(url, update)


def show_budget(headers: Any) -> None:
    table = Table(title="Budget headers", title_justify="left", show_header=False)
    for name in sorted(headers):
        if name.startswith("x-posthog-budget") or name == "x-gateway-simulated":
            table.add_row(name, headers[name])
    console.print(table)


def check_budget(headers: Any, status: str) -> None:
    spend = Decimal(headers.get("x-posthog-budget-spend-usd", "-1"))
    remaining = Decimal(headers.get("x-posthog-budget-remaining-usd", "-1"))
    is_right = (
        headers.get("x-posthog-budget") == status
        and headers.get("x-posthog-budget-cap-usd") == CAP_USD
        and spend >= 0
        and spend + remaining in {Decimal(CAP_USD), Decimal(CAP_USD) - Decimal("0.01")}
        and headers.get("x-posthog-budget-resets-at", "").endswith("-01T00:00:00Z")
    )
    check("the answer says where the team stands", is_right, dict(headers))


def stream_anthropic(url: str, key: str) -> None:
    """A Save Mode product: the breakpoint in the system prompt is raised to one hour."""
    system = [{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}}]
    headers = {
        "x-posthog-property-feature": "demo",
        "x-posthog-flag-new-prompt": "variant-b",
        "x-posthog-trace-id": "demo-trace",
    }
    with (
        anthropic.Anthropic(base_url=f"{url}/posthog_code", api_key=key) as client,
        client.messages.stream(
            model=SONNET,
            max_tokens=64,
            system=system,  # type: ignore[arg-type]
            messages=[{"role": "user", "content": "How many cents has a dollar?"}],
            extra_headers=headers,
        ) as stream,
    ):
        text = print_pieces("anthropic", stream.text_stream)
        message = stream.get_final_message()
        show_budget(stream.response.headers)
        check_budget(stream.response.headers, "ok")
        check("the simulated provider says that it is one", is_simulated(stream.response.headers))
    check("the streamed text is the whole message", text == message.content[0].text, text)  # type: ignore[union-attr]


def stream_openai(url: str, key: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=GPT,
            stream=True,
            messages=[{"role": "user", "content": "And how many has a penny?"}],
        )
        chunks = []

        def pieces() -> Iterator[str]:
            for chunk in raw.parse():
                chunks.append(chunk)
                yield chunk.choices[0].delta.content or "" if chunk.choices else ""

        text = print_pieces("openai", pieces())
        check_budget(raw.headers, "ok")
    check("words came", len(text.split()) > 3, text)
    check(
        "the usage chunk that only the gateway asked for is held back",
        all(chunk.choices for chunk in chunks),
    )


def print_pieces(name: str, pieces: Iterator[str]) -> str:
    """Print a stream while it comes; the pieces must come one after another, not all at the end."""
    console.print(f"[cyan]{name}[/] ", end="")
    text, times_s = "", []
    for piece in pieces:
        times_s.append(time.monotonic())
        text += piece
        console.print(piece, end="", markup=False)
    console.print()
    spread_s = times_s[-1] - times_s[0] if times_s else 0.0
    check(f"{len(times_s)} pieces were heard over {spread_s:.2f} s, as they came", spread_s > 0.1)
    return text


def is_simulated(headers: Any) -> bool:
    return headers.get("x-gateway-simulated") == "true"


def ask_whole(url: str, key: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key=key) as client:
        message = client.messages.create(
            model=SONNET, max_tokens=32, messages=[{"role": "user", "content": "Sum it up."}]
        )
        counted = client.messages.count_tokens(
            model=SONNET, messages=[{"role": "user", "content": "Sum it up."}]
        )
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        completion = client.chat.completions.create(
            model=GPT, messages=[{"role": "user", "content": "Sum it up."}]
        )
        models = [model.id for model in client.models.list()]
    check("anthropic answers whole", message.stop_reason == "end_turn", message)
    check("openai answers whole", completion.choices[0].finish_reason == "stop", completion)
    check("tokens are counted, free of charge", counted.input_tokens > 0, counted)
    check(f"the key may call {len(models)} models", GPT in models, models[:5])


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


def check_events(posthog: FakePostHog, rows: list[asyncpg.Record]) -> None:
    asyncio.run(posthog.wait_for_events(len(rows)))
    events = {event["uuid"]: event for event in posthog.events}
    first = events.get(str(rows[0]["entry_id"]), {"event": None, "properties": {}})
    properties = {name: first["properties"].get(name) for name in SHOWN_PROPERTIES}
    shown = {"event": first["event"], "uuid": first.get("uuid"), "properties": properties}
    console.print(Panel(JSON(json.dumps(shown)), title="captured by PostHog", title_align="left"))
    check(
        "each row has its event, under the same id",
        {str(r["entry_id"]) for r in rows} == set(events),
    )
    differences = [
        abs(
            events[str(row["entry_id"])]["properties"]["$ai_total_cost_usd"]
            - float(row["amount_usd"])
        )
        for row in rows
        if str(row["entry_id"]) in events
    ]
    check(
        "each event costs what its row says, within 1e-9",
        differences and max(differences) <= COST_TOLERANCE_USD,
        differences,
    )
    check(
        "the client's own property and flag are on it",
        (properties["feature"], properties["$feature/new-prompt"]) == ("demo", "variant-b"),
        properties,
    )
    names = {name for event in events.values() for name in event["properties"]}
    check(
        "no prompt and no completion left the gateway",
        not names & {"$ai_input", "$ai_output_choices"} and RULES[:40] not in str(posthog.events),
        names,
    )


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


@contextmanager
def everything(data_dir: Path) -> Iterator[tuple[GatewayProcess, FakePostHog]]:
    with Background(FakePostHog) as background:
        posthog = background.value
        with GatewayProcess(
            data_dir,
            "--demo",
            GATEWAY_POSTHOG_HOST=posthog.url,
            GATEWAY_POSTHOG_PROJECT_KEY="phc_demo",
        ) as gateway:
            yield gateway, posthog


def walk(gateway: GatewayProcess, posthog: FakePostHog, started_s: float) -> None:
    url, key = gateway.url, gateway.key
    check(
        f"serving on {url} after {time.monotonic() - started_s:.1f} s", gateway.ready["simulated"]
    )
    gateway.command("budget", "set", "--team", "demo", "--cap", CAP_USD, "--reason", "the demo")
    check(
        f"gateway budget set --team demo --cap {CAP_USD}, beside the running server", is_right=True
    )
    database_url = gateway.command("database", "url")["url"]

    chapter("Two SDKs, nothing but base URL and key changed")
    stream_anthropic(url, key)
    stream_openai(url, key)
    ask_whole(url, key)

    chapter("The ledger")
    rows = check_ledger(database_url)

    chapter("The event")
    check_events(posthog, rows)

    chapter("The cap, set in plain SQL")
    check_cap(url, key, database_url)

    chapter("The books")
    rows_of(database_url, 5)
    check("the log said loudly that the provider is simulated", "SIMULATED" in gateway.log)
    verified = gateway.command("ledger", "verify")
    check(f"gateway ledger verify: {verified['entries']} entries", verified["balanced"], verified)


def main() -> int:
    """Run it all; the exit status says whether all of it was right."""
    started_s = time.monotonic()
    chapter("gateway serve --demo")
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as directory:
        with everything(Path(directory) / "var") as (gateway, posthog):
            walk(gateway, posthog, started_s)
            postgres_pid = gateway.postgres_pid
            chapter("SIGTERM")
            gateway.signal(signal.SIGTERM)
            status = gateway.wait()
            check("it drains and ends with status 0", status == 0, status)
        wait_until_gone(postgres_pid, GONE_WITHIN_S)
        check("no PostgreSQL is left behind", is_right=True)
    console.print()
    seconds = time.monotonic() - started_s
    if failures:
        console.print(f"[bold red]{len(failures)} claims did not hold[/] ({seconds:.1f} s)")
        return 1
    console.print(f"[bold green]All of it is right.[/] ({seconds:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
