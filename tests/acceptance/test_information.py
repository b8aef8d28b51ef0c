"""What a key may ask about itself, and health."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.fakes.raw_client import connected, request
from tests.fakes.transcripts import ANTHROPIC_STREAM, OPENAI_STREAM
from tests.fixtures.gateway import chat_body, messages_body


async def test_models_come_in_openais_shape_by_default(gateway, team):
    answer = await gateway.get("/v1/models", team.headers)
    assert answer.status == 200
    page = answer.document
    assert page["object"] == "list"
    models = {model["id"]: model for model in page["data"]}
    assert models["gpt-4o-mini"]["object"] == "model"
    assert models["gpt-4o-mini"]["owned_by"] == "openai"
    assert models["claude-sonnet-4-6"]["owned_by"] == "anthropic"


async def test_models_come_in_anthropics_shape_for_its_clients(gateway, team):
    headers = [*team.headers, ("anthropic-version", "2023-06-01")]
    page = (await gateway.get("/slack_app/v1/models", headers)).document
    assert page["has_more"] is False
    assert page["first_id"] == page["data"][0]["id"]
    assert {"type", "id", "display_name", "created_at"} <= set(page["data"][0])
    assert "claude-sonnet-4-6" in [model["id"] for model in page["data"]]


async def test_usage_says_where_the_team_stands(gateway, provider):
    team = await gateway.make_team("25.00")
    await gateway.post("/v1/messages", messages_body(stream=True), team)
    await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    await gateway.entries(team, 2)
    await gateway.wait_until_nothing_is_held(team)
    usage = (await gateway.get("/v1/usage", team.headers)).document
    assert usage["team"] == team.name
    assert usage["month"] == f"{datetime.now(UTC):%Y-%m}"
    assert Decimal(usage["cap_usd"]) == 25
    spend = ANTHROPIC_STREAM.amount_usd + OPENAI_STREAM.amount_usd
    assert Decimal(usage["spend_usd"]) == spend
    assert Decimal(usage["remaining_usd"]) == 25 - spend
    assert usage["status"] == "ok"
    assert usage["resets_at"].endswith("-01T00:00:00Z")
    amounts = {row["model"]: Decimal(row["spend_usd"]) for row in usage["by_model"]}
    assert amounts == {
        ANTHROPIC_STREAM.model: ANTHROPIC_STREAM.amount_usd,
        OPENAI_STREAM.model: OPENAI_STREAM.amount_usd,
    }


async def test_usage_calls_a_spent_team_blocked_as_the_guard_does(gateway):
    """`exceeded` is the header's word."""
    team = await gateway.make_team("1.00")
    await gateway.spend(team, "1.05")
    usage = (await gateway.get("/v1/usage", team.headers)).document
    assert usage["status"] == "blocked"


async def test_usage_of_a_team_without_a_cap_names_none(gateway, team):
    usage = (await gateway.get("/v1/usage", team.headers)).document
    assert usage["cap_usd"] is None
    assert usage["remaining_usd"] is None
    assert usage["status"] == "disabled"
    assert usage["by_model"] == []


async def test_a_team_sees_nothing_of_another(gateway):
    rich, poor = await gateway.make_team(), await gateway.make_team()
    await gateway.spend(rich, "3.00")
    usage = (await gateway.get("/v1/usage", poor.headers)).document
    assert usage["team"] == poor.name
    assert usage["by_model"] == []


async def test_token_counting_is_relayed_free_of_charge(gateway, provider):
    team = await gateway.make_team("1.00")
    await gateway.spend(team, "1.05")
    answer = await gateway.post("/v1/messages/count_tokens", messages_body(), team)
    assert answer.status == 200
    assert answer.document == {"input_tokens": 17}
    assert provider.requests[-1].body == messages_body()
    assert await gateway.settled_count(team) == 1


async def test_health_needs_no_credential(gateway):
    for target in ("/livez", "/readyz", "/_liveness", "/_readiness"):
        answer = await gateway.get(target)
        assert (answer.status, answer.document) == (200, {"status": "ok"})


@pytest.mark.parametrize("product", ["", "/slack_app"])
@pytest.mark.parametrize(
    "target", ["/livez", "/readyz", "/_liveness", "/_readiness", "/v1/models", "/v1/usage"]
)
async def test_a_head_is_the_head_of_what_get_answers(gateway, team, target, product):
    if not target.startswith("/v1/"):
        product = ""
    got = await gateway.get(product + target, team.headers)
    assert got.status == 200
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("HEAD", product + target, team.headers)
        head = await connection.head()
        assert head.status == 200
        for name in ("content-type", "content-length"):
            assert head.header(name) == got.header(name)
        # Nothing follows it: the next answer begins where it ended.
        connection.send("GET", "/livez", [])
        assert (await connection.rest(await connection.head())).document == {"status": "ok"}


async def test_the_admin_listener_answers_head_and_says_what_it_takes(gateway):
    url = gateway.running.admin_url
    async with connected(url) as connection, asyncio.timeout(5):
        connection.send("HEAD", "/readyz", [])
        assert (await connection.head()).status == 200
    refused = await request(url, "POST", "/metrics", body=b"")
    assert (refused.status, refused.header("allow")) == (405, "GET, HEAD")


async def test_the_admin_listener_counts_without_naming_anybody(gateway, team):
    await gateway.post("/v1/messages", messages_body(stream=True), team)
    await gateway.entry(team)
    answer = await request(gateway.running.admin_url, "GET", "/metrics")
    assert answer.status == 200
    text = answer.body.decode()
    assert 'provider="anthropic"' in text
    assert team.name not in text
    assert team.key[:11] not in text
    for target in ("/v1/models", "/v1/messages", "/v1/usage"):
        assert (await request(gateway.running.admin_url, "GET", target)).status == 404


async def test_metrics_are_not_on_the_client_listener(gateway, team):
    for target in ("/metrics", "/", "/admin"):
        assert (await gateway.get(target, team.headers)).status == 404


async def test_a_real_provider_is_never_called_simulated(gateway, team):
    answer = await gateway.post("/v1/messages", messages_body(), team)
    assert answer.header("x-gateway-simulated") is None


async def test_a_cap_beyond_all_money_breaks_nothing(gateway):
    """No command sets one, and SQL can."""
    team = await gateway.make_team("1e400")
    answer = await gateway.post("/v1/messages", messages_body(), team)
    await gateway.entry(team)
    usage = await gateway.get("/v1/usage", team.headers)
    page = await request(gateway.running.admin_url, "GET", "/")

    assert answer.status == usage.status == page.status == 200
    assert answer.header("x-posthog-budget") == "ok"
    assert Decimal(answer.header("x-posthog-budget-cap-usd")) == Decimal("1e400")
    assert b"$1.00E+400" in page.body
    await gateway.wait_until_nothing_is_held(team)


async def test_a_correction_is_an_amount_and_no_request(gateway, team):
    await gateway.post("/v1/messages", messages_body(), team)
    await gateway.entry(team)
    await gateway.execute(
        "SELECT ledger.post_adjustment(gen_random_uuid(), 'adjustment',"
        " date_trunc('month', now() AT TIME ZONE 'UTC')::date, $1, 1, 'checked')",
        team.team_id,
    )
    usage = (await gateway.get("/v1/usage", team.headers)).document

    assert {row["model"] is None: row["requests"] for row in usage["by_model"]} == {
        True: 0,
        False: 1,
    }


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example:8081", "10.0.0.7", "[2001:db8::1]:80", "", "a]"],
)
async def test_the_admin_listener_without_a_token_answers_no_foreign_name(gateway, host):
    """A page of that name could have its browser look here and read what it finds."""
    for target in ("/", "/metrics", "/nothing"):
        answer = await request(gateway.running.admin_url, "GET", target, host=host or " ")
        assert answer.status == 403
        assert b"GATEWAY_ADMIN_TOKEN" in answer.body
    health = await request(gateway.running.admin_url, "GET", "/livez", host=host or " ")
    assert health.status == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.8.8.8:1", "[::1]:9"]
)
async def test_the_admin_listener_answers_the_names_of_its_own_machine(gateway, host):
    assert (await request(gateway.running.admin_url, "GET", "/", host=host)).status == 200


async def test_an_admin_listener_with_a_token_answers_any_name_that_has_it(make_gateway):
    url = make_gateway(GATEWAY_ADMIN_TOKEN="x" * 32).running.admin_url
    token = [("authorization", "Bearer " + "x" * 32)]
    assert (await request(url, "GET", "/metrics", token, host="gateway.example")).status == 200
    assert (await request(url, "GET", "/metrics", host="gateway.example")).status == 401
