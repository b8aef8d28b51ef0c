"""The demo's look at the events that PostHog captured: one a row, at the row's cost."""

import asyncio
import json

import asyncpg
from rich.json import JSON
from rich.panel import Panel

from scripts.demo_calls import RULES
from scripts.demo_screen import check, console
from tests.fakes.posthog import FakePostHog

COST_TOLERANCE_USD = 1e-9
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
