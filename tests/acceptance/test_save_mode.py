"""Save Mode: one-hour cache breakpoints for idle-prone products, and for all at `engage`."""

import pytest

from tests.fixtures.gateway import messages_body

SHORT = ', "system": [{"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}]'
UPGRADED = SHORT.replace('"ephemeral"}', '"ephemeral","ttl":"1h"}')
EXPLICIT = SHORT.replace('"ephemeral"}', '"ephemeral", "ttl": "5m"}')


async def sent_for(gateway, team, extra, product=""):
    before = len(gateway.provider.requests)
    answer = await gateway.post(f"{product}/v1/messages", messages_body(extra), team)
    assert answer.status == 200, answer.body
    assert len(gateway.provider.requests) == before + 1
    return gateway.provider.requests[-1].body, answer


async def test_an_idle_prone_product_gets_one_hour(gateway, team):
    body, answer = await sent_for(gateway, team, SHORT, "/posthog_code")
    assert body == messages_body(UPGRADED)
    entry = await gateway.entry(team)
    assert entry["cache_ttl_upgraded"] == 1
    properties = (await gateway.event(answer.header("x-gateway-request-id")))["properties"]
    assert properties["save_mode"] is True
    assert properties["cache_ttl_upgraded"] == 1


@pytest.mark.parametrize("product", ["", "/llm_gateway"])
async def test_another_product_keeps_its_bytes(gateway, team, product):
    body, answer = await sent_for(gateway, team, SHORT, product)
    assert body == messages_body(SHORT)
    properties = (await gateway.event(answer.header("x-gateway-request-id")))["properties"]
    assert properties["save_mode"] is False


@pytest.mark.parametrize("product", ["/posthog_code", "/slack_app"])
async def test_an_explicit_ttl_is_never_touched(gateway, team, product):
    body, _ = await sent_for(gateway, team, EXPLICIT, product)
    assert body == messages_body(EXPLICIT)


async def test_a_request_without_breakpoints_gets_none(gateway, team):
    body, _ = await sent_for(gateway, team, "", "/posthog_code")
    assert body == messages_body()


async def test_engage_switches_it_on_for_every_product(gateway):
    team = await gateway.make_team("10.00")
    body, _ = await sent_for(gateway, team, SHORT)
    assert body == messages_body(SHORT)
    await gateway.spend(team, "9.60")
    body, answer = await sent_for(gateway, team, SHORT)
    assert answer.header("x-posthog-budget") == "engage"
    assert body == messages_body(UPGRADED)
    body, _ = await sent_for(gateway, team, EXPLICIT)
    assert body == messages_body(EXPLICIT)


async def test_warn_does_not_switch_it_on(gateway):
    team = await gateway.make_team("10.00")
    await gateway.spend(team, "8.70")
    body, answer = await sent_for(gateway, team, SHORT)
    assert answer.header("x-posthog-budget") == "warn"
    assert body == messages_body(SHORT)


async def test_a_teams_own_setting_wins(gateway):
    on = await gateway.make_team(save_mode="on")
    body, _ = await sent_for(gateway, on, SHORT)
    assert body == messages_body(UPGRADED)
    off = await gateway.make_team(save_mode="off")
    body, _ = await sent_for(gateway, off, SHORT, "/posthog_code")
    assert body == messages_body(SHORT)


async def test_a_closed_gate_keeps_it_off_and_the_cap_on(make_gateway):
    gateway = make_gateway(GATEWAY_COST_CONTROLS="off")
    team = await gateway.make_team("10.00")
    body, _ = await sent_for(gateway, team, SHORT, "/posthog_code")
    assert body == messages_body(SHORT)
    await gateway.spend(team, "9.60")
    body, answer = await sent_for(gateway, team, SHORT)
    assert answer.header("x-posthog-budget") == "engage"
    assert body == messages_body(SHORT)
    await gateway.spend(team, "0.45")
    refused = await gateway.post("/v1/messages", messages_body(SHORT), team)
    assert refused.status == 429


async def test_a_forwarded_flag_header_does_not_open_the_gate(make_gateway):
    gateway = make_gateway(GATEWAY_COST_CONTROLS="flag")
    team = await gateway.make_team()
    headers = [("x-posthog-flag-llm-gateway-cost-controls", "true")]
    answer = await gateway.post("/posthog_code/v1/messages", messages_body(SHORT), team, headers)
    assert answer.status == 200
    assert gateway.provider.requests[0].body == messages_body(SHORT)
