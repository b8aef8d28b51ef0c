"""What a call leaves behind: one exact row, one total, one event, equal to the provider's bill."""

import asyncio
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.fakes.provider import playing, saying
from tests.fakes.transcripts import (
    ANTHROPIC_STREAM,
    ANTHROPIC_TEXT,
    ANTHROPIC_THINKING_TOOLS_STREAM,
    OPENAI_STREAM,
    OPENAI_TOOLS_STREAM,
    TRANSCRIPTS,
)
from tests.fixtures.gateway import chat_body, messages_body

COUNTS = (
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "web_search_requests",
)
TOLERANCE_USD = 1e-9


async def call(gateway, team, transcript, product="", headers=None):
    gateway.provider.will(playing(transcript))
    if transcript.name.startswith("anthropic"):
        target, body = "/v1/messages", messages_body(stream=transcript.is_stream)
    else:
        target, body = "/v1/chat/completions", chat_body(stream=transcript.is_stream)
    return await gateway.post(product + target, body, team, headers)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
async def test_the_row_says_what_was_used_and_what_it_costs(gateway, team, transcript):
    began_at = datetime.now(UTC)
    answer = await call(gateway, team, transcript)
    entry = await gateway.entry(team)
    assert {name: entry[name] for name in COUNTS if entry[name]} == transcript.counts
    assert entry["amount_usd"] == transcript.amount_usd
    assert str(entry["entry_id"]) == answer.header("x-gateway-request-id")
    assert uuid.UUID(answer.header("x-gateway-request-id")).version == 7
    is_anthropic = transcript.name.startswith("anthropic")
    assert entry["provider"] == ("anthropic" if is_anthropic else "openai")
    assert entry["dialect"] == ("anthropic.messages" if is_anthropic else "openai.chat")
    assert entry["request_model"] == ("claude-sonnet-4-6" if is_anthropic else "gpt-4o-mini")
    assert entry["response_model"] == transcript.model
    assert entry["product"] == "llm_gateway"
    assert entry["api_key_id"] == team.api_key_id
    assert entry["provider_response_id"] == transcript.response_id
    assert entry["usage_source"] == "exact"
    assert entry["entry_type"] == "usage"
    assert entry["http_status"] == 200
    assert entry["client_aborted"] is False
    assert entry["budget_status"] == "disabled"
    assert entry["price_version"] == "genai-prices-0.2.3"
    assert entry["month"] == began_at.date().replace(day=1)
    assert began_at <= entry["occurred_at"] <= datetime.now(UTC)
    assert (entry["recorded_at"] - entry["occurred_at"]).total_seconds() < 2


async def test_the_ledger_equals_the_providers_own_bill(gateway, provider):
    teams = [await gateway.make_team() for _ in range(3)]
    calls = [(team, transcript) for team in teams for transcript in TRANSCRIPTS]
    for team, transcript in calls:
        await call(gateway, team, transcript)
    posted = [
        (entry["provider_response_id"], entry["amount_usd"])
        for team in teams
        for entry in await gateway.entries(team, len(TRANSCRIPTS))
    ]
    assert sorted(posted) == sorted((line.response_id, line.amount_usd) for line in provider.bill)
    for team in teams:
        assert await gateway.spend_usd(team) == sum(t.amount_usd for t in TRANSCRIPTS)
    ids = [team.team_id for team in teams]
    rows = await gateway.fetch(
        "SELECT balanced FROM ledger.reconciliation WHERE team_id = ANY($1)", ids
    )
    assert [row["balanced"] for row in rows] == [True, True, True]


async def test_the_event_carries_the_entry_to_posthog(gateway, team):
    await call(gateway, team, ANTHROPIC_THINKING_TOOLS_STREAM, "/posthog_code")
    entry = await gateway.entry(team)
    event = await gateway.event(entry["entry_id"])
    assert event["event"] == "$ai_generation"
    properties = event["properties"]
    said = {
        "$ai_provider": "anthropic",
        "$ai_model": "claude-sonnet-4-6",
        "$ai_input_tokens": 2095,
        "$ai_output_tokens": 503,
        "$ai_cache_read_input_tokens": 18000,
        "$ai_cache_creation_input_tokens": 1500,
        "$ai_cache_creation_5m_input_tokens": 1000,
        "$ai_cache_creation_1h_input_tokens": 500,
        "$ai_reasoning_tokens": 0,
        "$ai_request_cost_usd": 0,
        "$ai_web_search_cost_usd": 0,
        "$ai_cost_passthrough": True,
        "$ai_stream": True,
        "$ai_http_status": 200,
        "$ai_is_error": False,
        "$ai_error": None,
        "$ai_span_id": str(entry["entry_id"]),
        "$ai_session_id": None,
        "$ai_base_url": gateway.provider.anthropic_base_url,
        "$ai_effort": None,
        "ai_product": "posthog_code",
        "$ai_billable": True,
        "$ai_gateway": True,
        "team": team.name,
        "budget_status": "disabled",
        "save_mode": False,
        "cache_ttl_upgraded": 0,
        "usage_source": "exact",
        "client_aborted": False,
    }
    assert {name: properties[name] for name in said} == said
    assert 0 < properties["$ai_time_to_first_token"] <= properties["$ai_latency"] < 10
    assert "$ai_input" not in properties
    assert "$ai_output_choices" not in properties


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
async def test_the_events_amounts_are_the_entrys(gateway, team, transcript):
    await call(gateway, team, transcript)
    entry = await gateway.entry(team)
    properties = (await gateway.event(entry["entry_id"]))["properties"]
    parts = [
        properties[f"$ai_{part}_cost_usd"] for part in ("input", "output", "request", "web_search")
    ]
    total = properties["$ai_total_cost_usd"]
    assert total == pytest.approx(float(transcript.amount_usd), abs=TOLERANCE_USD)
    assert total == pytest.approx(float(entry["amount_usd"]), abs=TOLERANCE_USD)
    assert sum(parts) == pytest.approx(total, abs=TOLERANCE_USD)
    assert properties["$ai_output_cost_usd"] == pytest.approx(
        float(entry["output_amount_usd"]), abs=TOLERANCE_USD
    )
    assert properties["$ai_cache_read_cost_usd"] == pytest.approx(
        float(entry["cache_read_amount_usd"]), abs=TOLERANCE_USD
    )
    assert properties["$ai_cache_creation_cost_usd"] == pytest.approx(
        float(entry["cache_write_amount_usd"]), abs=TOLERANCE_USD
    )


async def test_identity_properties_and_flags_of_the_client_are_on_the_event(gateway, team):
    headers = [
        ("x-posthog-distinct-id", "user-7"),
        ("x-posthog-trace-id", "trace-7"),
        ("x-posthog-session-id", "session-7"),
        ("x-posthog-property-feature", "summaries"),
        ("x-posthog-property-save_mode", "client says on"),
        ("x-posthog-flag-new-prompt", "variant-b"),
        ("x-request-id", "req-from-client"),
    ]
    answer = await call(gateway, team, ANTHROPIC_STREAM, headers=headers)
    assert answer.header("x-request-id") == "req-from-client"
    event = await gateway.event(answer.header("x-gateway-request-id"))
    assert event["distinct_id"] == "user-7"
    assert event["properties"]["$ai_trace_id"] == "trace-7"
    assert event["properties"]["$ai_session_id"] == "session-7"
    assert event["properties"]["feature"] == "summaries"
    assert event["properties"]["$feature/new-prompt"] == "variant-b"
    assert event["properties"]["save_mode"] is False
    sent = gateway.provider.requests[0]
    assert not [name for name, _ in sent.headers if name.lower().startswith("x-posthog")]


async def test_a_traceparent_gives_the_trace(gateway, team):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await call(gateway, team, ANTHROPIC_TEXT, headers=[("traceparent", parent)])
    event = await gateway.event(answer.header("x-gateway-request-id"))
    assert event["properties"]["$ai_trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_a_property_of_the_gateways_cannot_be_spoofed(gateway, team):
    spoofed = [
        "$ai_total_cost_usd",
        "$ai_model",
        "$ai_provider",
        "$ai_output_tokens",
        "$ai_gateway",
        "$ai_billable",
        "$AI_TOTAL_COST_USD",
        "team",
        "Team",
        "ai_product",
        "budget_status",
        "usage_source",
        "client_aborted",
        "cache_ttl_upgraded",
        "distinct_id",
        "token",
    ]
    clean = await call(gateway, team, ANTHROPIC_STREAM)
    headers = [(f"x-posthog-property-{name}", "SPOOFED") for name in spoofed]
    answer = await call(gateway, team, ANTHROPIC_STREAM, headers=headers)
    event = await gateway.event(answer.header("x-gateway-request-id"))
    honest = await gateway.event(clean.header("x-gateway-request-id"))
    assert "SPOOFED" not in str(event)
    assert set(event["properties"]) == set(honest["properties"])
    assert event["properties"]["$ai_total_cost_usd"] == pytest.approx(0.00054, abs=TOLERANCE_USD)
    assert event["properties"]["team"] == team.name


async def test_an_unknown_model_is_charged_at_the_ceiling_and_flagged(gateway, team, provider):
    document = ANTHROPIC_TEXT.document | {"model": "claude-of-next-year"}
    provider.will(saying(document))
    await gateway.post("/v1/messages", messages_body(model="claude-of-next-year"), team)
    entry = await gateway.entry(team)
    assert entry["is_ceiling"] is True
    assert entry["amount_usd"] >= ANTHROPIC_TEXT.amount_usd
    assert entry["request_model"] == "claude-of-next-year"


async def test_a_model_is_sent_to_the_provider_of_its_prefix(gateway, team, provider):
    body = chat_body(model="openai/gpt-4o-mini")
    assert (await gateway.post("/v1/chat/completions", body, team)).status == 200
    assert provider.requests[0].body == chat_body(model="gpt-4o-mini")
    assert (await gateway.entry(team))["request_model"] == "gpt-4o-mini"


async def test_an_answer_that_was_heard_whole_is_on_the_ledger_within_two_seconds(gateway, team):
    await call(gateway, team, OPENAI_STREAM)
    async with asyncio.timeout(2):
        assert (await gateway.entry(team))["amount_usd"] == OPENAI_STREAM.amount_usd


async def test_calls_at_once_are_each_counted_once(gateway, team, provider):
    provider.will(*(playing(OPENAI_TOOLS_STREAM) for _ in range(60)))
    body = chat_body(stream=True)
    answers = await asyncio.gather(
        *(gateway.post("/v1/chat/completions", body, team) for _ in range(60))
    )
    entries = await gateway.entries(team, 60)
    ids = {answer.header("x-gateway-request-id") for answer in answers}
    assert {str(entry["entry_id"]) for entry in entries} == ids
    assert await gateway.spend_usd(team) == 60 * OPENAI_TOOLS_STREAM.amount_usd
    assert len(ids) == 60


async def test_a_web_search_costs_its_fee(gateway, team, provider):
    document = ANTHROPIC_TEXT.document
    document["usage"]["server_tool_use"] = {"web_search_requests": 3, "web_fetch_requests": 1}
    provider.will(saying(document))
    await gateway.post("/v1/messages", messages_body(), team)
    entry = await gateway.entry(team)
    assert entry["web_search_requests"] == 3
    # 10 USD per thousand searches.
    assert entry["web_search_amount_usd"] == Decimal("0.03")
    assert entry["amount_usd"] == ANTHROPIC_TEXT.amount_usd + Decimal("0.03")
    properties = (await gateway.event(entry["entry_id"]))["properties"]
    assert properties["$ai_web_search_cost_usd"] == pytest.approx(0.03, abs=TOLERANCE_USD)


async def test_an_answer_without_usage_is_estimated_and_never_free(gateway, team, provider):
    document = ANTHROPIC_TEXT.document
    del document["usage"]
    provider.will(saying(document))
    await gateway.post("/v1/messages", messages_body(), team)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0
    assert entry["input_uncached_tokens"] > 0
    assert entry["output_tokens"] > 0
