"""E12 and E13, E20 to E50: calls, headers, tiers and tools that would cost less than they do."""

import asyncio
import json
from decimal import Decimal

import pytest

from gateway.proxy.relays import DRAINS_MAX
from tests.fakes.dialects import (
    CONVERSE,
    EVENT_STREAM_TYPE,
    GENERATION,
    INVOKE,
    RESPONSE,
    RESPONSE_STREAM,
    converse_frames,
    encoded,
    gemini_request,
    response,
    streamed,
    whole,
)
from tests.fakes.provider import Answer, playing, saying
from tests.fakes.transcripts import (
    ANTHROPIC_STREAM,
    ANTHROPIC_TEXT,
    OPENAI_TEXT,
    OPENAI_TOOLS_STREAM,
    SONNET,
    spending,
)
from tests.fixtures.gateway import chat_body, messages_body

MESSAGES, CHAT, RESPONSES = "/v1/messages", "/v1/chat/completions", "/v1/responses"
MILLION = Decimal(1_000_000)


def answer_with(usage, **changes):
    document = ANTHROPIC_TEXT.document | changes
    document["usage"] |= usage
    return whole(document)


async def amount_of(gateway, team, answer, extra="", headers=(), model=SONNET):
    gateway.provider.will(answer)
    body = messages_body(extra, model=model)
    heard = await gateway.post(MESSAGES, body, team, list(headers))
    assert heard.status == 200, heard.body
    return (await gateway.entry(team))["amount_usd"]


async def leave_after(gateway, team, pieces, target, body, answer):
    """Hear so many pieces and hang up as a process that dies does."""
    gateway.provider.will(answer)
    async with gateway.connected() as connection:
        connection.send("POST", target, team.headers, body)
        heard = await connection.head()
        source = connection.pieces(heard)
        for _ in range(pieces):
            await anext(source)
        connection.leave()
    return await gateway.entry(team)


# E12, E13, E43: leaving before the bill comes.


@pytest.mark.parametrize("pieces", [1, 3, 6])
async def test_e12_leaving_before_the_usage_does_not_lose_it(gateway, team, pieces):
    answer = playing(ANTHROPIC_STREAM, interval_s=0.01)
    body = messages_body(stream=True)
    entry = await leave_after(gateway, team, pieces, MESSAGES, body, answer)
    assert entry["amount_usd"] == ANTHROPIC_STREAM.amount_usd
    assert entry["client_aborted"] is True


async def test_e12_the_same_for_a_chat_and_a_response(gateway, provider):
    for target, body, answer, amount in (
        (
            CHAT,
            chat_body(stream=True),
            playing(OPENAI_TOOLS_STREAM, interval_s=0.01),
            OPENAI_TOOLS_STREAM.amount_usd,
        ),
        (RESPONSES, RESPONSE_STREAM.request, RESPONSE_STREAM.answer, RESPONSE.amount_usd),
    ):
        team = await gateway.make_team()
        entry = await leave_after(gateway, team, 1, target, body, answer)
        assert entry["amount_usd"] == amount


async def test_e12_the_same_for_a_conversation_on_bedrock(gateway, team):
    answer = streamed(*converse_frames(), content_type=EVENT_STREAM_TYPE)
    target = CONVERSE.target.replace("converse", "converse-stream")
    entry = await leave_after(gateway, team, 1, target, CONVERSE.request, answer)
    assert entry["amount_usd"] == CONVERSE.amount_usd


async def test_e12_hung_calls_of_one_team_take_its_own_places_alone(gateway, provider):
    """Who hears no more providers out pays the hold; other teams are metered as ever."""
    other = await gateway.make_team()
    hung = await gateway.make_team()
    body = chat_body(', "max_completion_tokens": 1000', model="gpt-5")
    share, beyond = DRAINS_MAX // 4, 2
    for _ in range(share + beyond):
        provider.will(Answer(hangs_before_head=True))

    async def leave_a_hung_call():
        async with gateway.connected() as connection:
            connection.send("POST", CHAT, hung.headers, body)
            await asyncio.sleep(1)
            connection.leave()

    await asyncio.gather(*(leave_a_hung_call() for _ in range(share + beyond)))
    entries = await gateway.entries(hung, beyond)
    for entry in entries:
        assert entry["usage_source"] == "estimated"
        assert entry["amount_usd"] == entry["hold_usd"] > 0
        assert json.loads(entry["detail"])["unheard"] is True
    provider.script.clear()
    answer = playing(OPENAI_TOOLS_STREAM, interval_s=0.01)
    entry = await leave_after(gateway, other, 1, CHAT, chat_body(stream=True), answer)
    assert (entry["amount_usd"], entry["usage_source"]) == (OPENAI_TOOLS_STREAM.amount_usd, "exact")
    # Those that are heard out end in their time, as they always did.
    await gateway.wait_until_nothing_is_held(hung, timeout_s=10)
    assert len(await gateway.entries(hung, share + beyond)) == share + beyond


async def test_e13_leaving_while_the_model_thinks_unseen_costs_the_input_at_least(gateway, team):
    """The provider hangs: what it said of the input is charged, and a token of output."""
    answer = playing(ANTHROPIC_STREAM, hangs_after_pieces=1)
    body = messages_body(stream=True)
    entry = await leave_after(gateway, team, 1, MESSAGES, body, answer)
    assert entry["usage_source"] == "estimated"
    assert entry["input_uncached_tokens"] == 120
    assert entry["output_tokens"] >= 1
    assert entry["amount_usd"] >= 120 * 3 / MILLION


# E20 to E27: what a call may be made of.


@pytest.mark.parametrize("tier", ["priority", "ultrafast", "brand-new", "PRIORITY"])
async def test_e20_a_tier_that_the_answer_does_not_name_costs_what_was_asked_for(
    gateway, team, provider, tier
):
    document = OPENAI_TEXT.document
    document.pop("service_tier", None)
    provider.will(whole(document))
    await gateway.post(CHAT, chat_body(f', "service_tier": "{tier}"'), team)
    assert (await gateway.entry(team))["amount_usd"] > OPENAI_TEXT.amount_usd


@pytest.mark.parametrize("tier", ["flex", "batch", "FLEX"])
async def test_e20_a_discount_that_was_only_asked_for_is_none(gateway, team, provider, tier):
    document = OPENAI_TEXT.document
    document.pop("service_tier", None)
    provider.will(whole(document))
    await gateway.post(CHAT, chat_body(f', "service_tier": "{tier}"'), team)
    assert (await gateway.entry(team))["amount_usd"] == OPENAI_TEXT.amount_usd


@pytest.mark.parametrize(
    "header",
    [
        ("x-amzn-bedrock-service-tier", "priority"),
        ("X-Amzn-Bedrock-PerformanceConfig-Latency", "optimized"),
    ],
)
async def test_e20_a_tier_in_bedrocks_headers_counts_like_one_in_a_body(
    gateway, team, provider, header
):
    provider.will(INVOKE.answer)
    await gateway.post(INVOKE.target, INVOKE.request, team, [header])
    assert provider.requests[0].header(header[0]) == header[1]
    assert (await gateway.entry(team))["amount_usd"] > INVOKE.amount_usd


@pytest.mark.parametrize(
    "tiers",
    [
        {"serviceTier": "standard", "service_tier": "priority"},
        {"serviceTier": "flex", "service_tier": "standard"},
        {"serviceTier": "", "service_tier": "priority"},
        {"serviceTier": 3},
        {"service_tier": ["priority"]},
        {"serviceTier": {"type": "priority"}},
    ],
)
async def test_e20_a_tier_of_geminis_that_has_two_readings_is_refused(gateway, payer, tiers):
    answer = await gateway.post(GENERATION.target, gemini_request(**tiers), payer)
    assert answer.status == 400, answer.body
    assert gateway.provider.requests == []


@pytest.mark.parametrize(
    "tiers",
    [
        {"service_tier": "priority"},
        {"serviceTier": None, "service_tier": "priority"},
        {"serviceTier": "priority", "service_tier": None},
        {"serviceTier": "priority", "service_tier": "priority"},
    ],
)
async def test_e20_a_tier_of_geminis_counts_under_either_name(gateway, team, provider, tiers):
    provider.will(GENERATION.answer)
    await gateway.post(GENERATION.target, gemini_request(**tiers), team)
    assert (await gateway.entry(team))["amount_usd"] > GENERATION.amount_usd


async def test_e21_fast_mode_is_priced_as_fast(gateway, team):
    """Known to the price data for Opus 4.8 at twice the plain rates; else at the ceiling."""
    answer = answer_with({"speed": "fast"})
    headers = [("anthropic-beta", "fast-mode-2026-02-01")]
    amount = await amount_of(gateway, team, answer, ', "speed": "fast"', headers)
    assert amount >= 2 * ANTHROPIC_TEXT.amount_usd


async def test_e22_a_long_prompt_is_repriced_whole(gateway, team, provider):
    """gpt-5.4 above 272,000 tokens: 5 instead of 2.50 for all of them."""
    usage = {"prompt_tokens": 300_000, "completion_tokens": 10, "total_tokens": 300_010}
    provider.will(whole(OPENAI_TEXT.document | {"model": "gpt-5.4", "usage": usage}))
    await gateway.post(CHAT, chat_body(model="gpt-5.4"), team)
    assert (await gateway.entry(team))["amount_usd"] >= 300_000 * 5 / MILLION


@pytest.mark.parametrize("said", [{"inference_geo": "us"}, {}])
async def test_e23_a_geography_costs_a_tenth_more(gateway, team, said):
    extra = ', "inference_geo": "us"'
    amount = await amount_of(gateway, team, answer_with(said), extra)
    assert amount == ANTHROPIC_TEXT.amount_usd * 11 / 10


async def test_e24_an_hour_of_cache_costs_twice_the_input(gateway, team):
    usage = {
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    }
    amount = await amount_of(gateway, team, answer_with(usage))
    assert amount == (1000 * Decimal("3.75") + 2000 * 6) / MILLION


async def test_e25_what_a_compaction_or_an_advisor_used_is_added(gateway, team):
    passes = [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500},
        {"type": "message", "input_tokens": 40, "output_tokens": 9},
        {
            "type": "advisor_message",
            "model": "claude-opus-4-8",
            "input_tokens": 1000,
            "output_tokens": 100,
        },
    ]
    amount = await amount_of(gateway, team, answer_with({"iterations": passes}))
    own = ANTHROPIC_TEXT.amount_usd + (180_000 * 3 + 3500 * 15) / MILLION
    assert amount >= own + (1000 * 5 + 100 * 25) / MILLION


async def test_e26_searches_of_the_providers_tools_have_their_fee(gateway, team):
    usage = {"server_tool_use": {"web_search_requests": 3}}
    amount = await amount_of(gateway, team, answer_with(usage))
    assert amount == ANTHROPIC_TEXT.amount_usd + Decimal("0.03")


async def test_e26_so_have_those_of_a_response(gateway, team, provider):
    search = {"type": "web_search_call", "id": "ws", "status": "completed"}
    calls = [search | {"action": {"type": "search", "query": "tides"}}] * 2
    provider.will(whole(response(output=calls)))
    await gateway.post(RESPONSES, RESPONSE.request, team)
    assert (await gateway.entry(team))["amount_usd"] == RESPONSE.amount_usd + Decimal("0.02")


@pytest.mark.parametrize(
    ("target", "extra", "factor"),
    [
        (CHAT, ', "n": 50', 50),
        (CHAT, ', "max_completion_tokens": 50000', 50),
        ("/v1/completions", ', "prompt": "x", "best_of": 50', 50),
        ("/v1/completions", ', "prompt": ["a", "b"], "n": 25', 50),
    ],
)
async def test_e27_every_choice_is_held_for(gateway, target, extra, factor):
    """A strict cap takes a thousand tokens, and not fifty times as many."""
    base = ', "max_tokens": 1000'
    cap_usd = (1000 * 10 + 20_000 * Decimal("2.5")) / MILLION
    team = await gateway.make_team(cap_usd, enforcement="strict")
    gateway.provider.will(playing(OPENAI_TEXT))
    plain = await gateway.post(target, chat_body(base, model="gpt-4o"), team)
    assert plain.status == 200
    more = await gateway.post(target, chat_body(base + extra, model="gpt-4o"), team)
    assert more.status == 429
    assert len(gateway.provider.requests) == 1
    await gateway.entry(team)
    assert factor * 1000 * 10 / MILLION > cap_usd


async def test_e27_candidates_of_gemini_are_held_for(gateway):
    team = await gateway.make_team("0.01", enforcement="strict")
    for key in ("candidateCount", "candidate_count"):
        config = {"maxOutputTokens": 1000, key: 8}
        body = encoded({"contents": [], "generationConfig": config})
        answer = await gateway.post(GENERATION.target, body, team)
        # 8 x 1000 x 2.50 millionths are 0.02.
        assert answer.status in {403, 429}, answer.body
    assert gateway.provider.requests == []


# E28, E29, E46: what would be paid for elsewhere, or by somebody else.


@pytest.mark.parametrize("extra", [', "background": true', ', "Background": true'])
async def test_e28_background_is_refused(gateway, team, extra):
    body = b'{"model": "gpt-5", "input": "x"%b}' % extra.encode()
    assert (await gateway.post(RESPONSES, body, team)).status == 400
    assert gateway.provider.requests == []


UNMETERED = (
    "/v1/messages/batches",
    "/v1/batches",
    "/v1/files",
    "/v1/fine_tuning/jobs",
    "/v1/vector_stores",
    "/v1/realtime",
    "/v1/realtime/sessions",
    "/v1/images/generations",
    "/v1/audio/speech",
    "/v1/audio/translations",
    "/v1/assistants",
    "/v1/threads/runs",
    "/v1/responses/resp_1",
    "/v1/responses/input_tokens",
    "/v1/conversations",
    "/v1/containers",
    "/v1/complete",
    "/v1beta/models/gemini-2.5-flash:embedContent",
    "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
    "/v1beta/models/gemini-2.5-flash:predict",
    "/v1beta/cachedContents",
    "/v1beta/interactions",
    "/model/anthropic.claude-v2/async-invoke",
    "/async-invoke",
    "/guardrail/x/version/1/apply",
)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_e29_nothing_is_relayed_unmetered(gateway, team, provider, method):
    async with gateway.connected() as connection:
        for target in UNMETERED:
            connection.send(method, target, team.headers, b"")
            answer = await connection.rest(await connection.head())
            assert answer.status == 404, target
    assert provider.requests == []


# E31 to E33, E44, E45: headers that claim something.


async def test_e31_attribution_of_the_client_never_replaces_ours(gateway, team):
    names = (
        "team",
        "budget_status",
        "usage_source",
        "ai_product",
        "save_mode",
        "$ai_total_cost_usd",
    )
    headers = [(f"x-posthog-property-{name}", "0") for name in names]
    headers += [("x-posthog-property-$set", "x"), ("x-posthog-property-token", "phc_evil")]
    gateway.provider.will(playing(ANTHROPIC_TEXT))
    answer = await gateway.post(MESSAGES, messages_body(), team, headers)
    event = await gateway.event(answer.header("x-gateway-request-id"))
    properties = event["properties"]
    assert properties["team"] == team.name
    assert properties["usage_source"] == "exact"
    assert properties["ai_product"] == "llm_gateway"
    assert properties["$ai_total_cost_usd"] == pytest.approx(float(ANTHROPIC_TEXT.amount_usd))
    assert properties.get("$set") != "x"
    assert "phc_evil" not in str(event.get("token"))


async def test_e32_an_override_without_the_right_is_ignored(gateway, provider):
    team = await gateway.make_team("0.15")
    await gateway.spend(team, "0.15")
    provider.reset()
    for value in ("true", "TRUE", "1"):
        headers = [("x-posthog-budget-override", value)]
        answer = await gateway.post(MESSAGES, messages_body(), team, headers)
        assert (answer.status, answer.header("x-posthog-budget")) == (429, "exceeded")
    assert provider.requests == []


@pytest.mark.parametrize("second", ["x-api-key", "authorization", "x-goog-api-key", "api-key"])
async def test_e33_two_credentials_are_refused(gateway, team, second):
    other = await gateway.make_team()
    value = f"Bearer {other.key}" if second == "authorization" else other.key
    answer = await gateway.post(MESSAGES, messages_body(), team, [(second, value)])
    assert answer.status == 400
    assert gateway.provider.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        [("openai-organization", "org-evil"), ("openai-project", "proj-evil")],
        [("anthropic-workspace-id", "ws"), ("x-goog-user-project", "p")],
        [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("cookie", "a=b")],
        [("x-original-url", "/v1/models"), ("x-rewrite-url", "/v1/models")],
        [("x-http-method-override", "GET"), ("x-forwarded-host", "evil.test")],
        [("helicone-auth", "x"), ("x-portkey-config", "{}"), ("x-base-url", "http://evil.test")],
    ],
)
async def test_e44_e45_no_claim_of_a_header_goes_up_or_routes(gateway, team, provider, headers):
    answer = await gateway.post(MESSAGES, messages_body(), team, headers)
    assert answer.status == 200
    (sent,) = provider.requests
    assert (sent.method, sent.path) == ("POST", "/anthropic/v1/messages")
    names = {name.lower() for name, _ in sent.headers}
    assert not names & {name for name, _ in headers}
    assert (await gateway.entry(team))["amount_usd"] == ANTHROPIC_TEXT.amount_usd


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.test/v1/messages",
        "//evil.test/v1/messages",
        "/v1/messages/../models",
        "/v1/messages%3fmodel=x",
        "/v1/./messages",
        "/v1/messages;a=b",
        "/V1/MESSAGES",
    ],
)
async def test_e45_a_target_that_is_not_on_the_list_is_none(gateway, team, provider, target):
    answer = await gateway.post(target, messages_body(), team)
    assert answer.status in {400, 404}
    assert provider.requests == []


# E34, E35, E37, E39: the arithmetic of a cap.


async def test_e34_a_new_key_is_no_new_budget(gateway, provider):
    team = await gateway.make_team("0.15")
    await gateway.spend(team, "0.15")
    provider.reset()
    for _ in range(3):
        _, key = await gateway.make_key(team.team_id)
        headers = [("x-api-key", key), ("content-type", "application/json")]
        answer = await gateway.post(MESSAGES, messages_body(), None, headers)
        assert answer.status == 429
    assert provider.requests == []


async def test_e35_many_at_once_at_the_edge_of_a_cap_do_not_all_pass(gateway, provider):
    """In `strict` what is admitted fits, however many come at once: 40 of 0.03 under 0.15 left."""
    team = await gateway.make_team("15.00", enforcement="strict")
    await gateway.spend(team, "14.85")
    provider.reset()
    provider.will(*(saying(spending("0.03"), head_delay_s=0.1) for _ in range(40)))
    body = messages_body().replace(b'"max_tokens": 64', b'"max_tokens": 2000')
    answers = await asyncio.gather(*(gateway.post(MESSAGES, body, team) for _ in range(40)))
    admitted = sum(answer.status == 200 for answer in answers)
    assert {answer.status for answer in answers} <= {200, 429}
    assert admitted == len(provider.requests) <= 5
    await gateway.entries(team, 1 + admitted)
    assert await gateway.spend_usd(team) <= 15


async def test_e37_the_tiniest_call_costs_something(gateway, team, provider):
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    document = {"object": "list", "data": [], "model": "text-embedding-3-small", "usage": usage}
    provider.will(whole(document))
    body = b'{"model": "text-embedding-3-small", "input": "x"}'
    await gateway.post("/v1/embeddings", body, team)
    assert (await gateway.entry(team))["amount_usd"] == Decimal("0.00000002")


@pytest.mark.parametrize("cap", [None, "0", "-1"])
async def test_e39_no_cap_is_said_and_never_taken_for_a_spent_one(gateway, cap):
    """The contract: NULL, zero and negative mean no cap; the command line refuses to set 0."""
    team = await gateway.make_team()
    await gateway.set_cap(team, cap)
    answer = await gateway.post(MESSAGES, messages_body(), team)
    assert answer.status == 200
    assert answer.header("x-posthog-budget") is None
    assert (await gateway.entry(team))["budget_status"] == "disabled"


# E48 to E50: again, and after the end.


async def test_e48_an_idempotency_key_does_not_merge_entries(gateway, team, provider):
    headers = [("idempotency-key", "same"), ("x-request-id", "same")]
    for _ in range(3):
        provider.will(playing(ANTHROPIC_TEXT))
        await gateway.post(MESSAGES, messages_body(), team, headers)
    entries = await gateway.entries(team, 3)
    assert len({entry["entry_id"] for entry in entries}) == 3
    assert await gateway.spend_usd(team) == 3 * ANTHROPIC_TEXT.amount_usd


async def test_e49_every_try_that_was_answered_is_paid_for(gateway, team, provider):
    failed = saying({"type": "error", "error": {"type": "api_error", "message": "x"}}, 500)
    provider.will(failed, failed, playing(ANTHROPIC_TEXT))
    async with gateway.anthropic(team, max_retries=2) as client:
        await client.messages.create(
            model=SONNET, max_tokens=64, messages=[{"role": "user", "content": "x"}]
        )
    entries = await gateway.entries(team, 3)
    assert [entry["http_status"] for entry in entries] == [500, 500, 200]
    assert await gateway.spend_usd(team) == ANTHROPIC_TEXT.amount_usd


async def test_e50_a_revoked_key_fails_within_a_second(gateway, team, provider):
    assert (await gateway.post(MESSAGES, messages_body(), team)).status == 200
    await gateway.execute(
        "UPDATE ledger.api_key SET revoked_at = now() WHERE api_key_id = $1", team.api_key_id
    )
    await asyncio.sleep(1)
    provider.reset()
    assert (await gateway.post(MESSAGES, messages_body(), team)).status == 401
    assert provider.requests == []
    await gateway.entry(team)


async def test_the_ledger_is_never_below_the_providers_own_bill(gateway, team, provider):
    """All at once, whole and streamed, heard and left: what was billed is what is booked."""
    for _ in range(3):
        provider.will(playing(ANTHROPIC_TEXT), playing(ANTHROPIC_STREAM))
        await gateway.post(MESSAGES, messages_body(), team)
        await gateway.post(MESSAGES, messages_body(stream=True), team)
    entries = await gateway.entries(team, 6)
    assert sum(entry["amount_usd"] for entry in entries) == sum(
        line.amount_usd for line in provider.bill
    )
    assert json.loads(provider.requests[0].body)["model"] == SONNET
