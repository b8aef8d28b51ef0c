"""Keys: who gets in and how fast that changes, and which secrets stay on which side."""

import asyncio
import time

import pytest

from tests.fakes.provider import saying
from tests.fakes.raw_client import request
from tests.fixtures.gateway import (
    ANTHROPIC_CREDENTIAL,
    OPENAI_CREDENTIAL,
    chat_body,
    messages_body,
)

FAILS_WITHIN_S = 1.0
JSON = ("content-type", "application/json")


async def ask(gateway, *headers, target="/v1/messages"):
    body = messages_body() if target.endswith("messages") else chat_body()
    return await gateway.post(target, body, None, [JSON, *headers])


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "x-goog-api-key", "X-Api-Key"])
async def test_a_key_is_taken_from_each_header_that_sdks_use(gateway, team, name):
    assert (await ask(gateway, (name, team.key))).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_bearer_key_is_taken(gateway, team, scheme):
    assert (await ask(gateway, ("authorization", f"{scheme} {team.key}"))).status == 200


async def test_the_same_key_twice_is_one_key(gateway, team):
    headers = [("authorization", f"Bearer {team.key}"), ("x-api-key", team.key)]
    assert (await ask(gateway, *headers)).status == 200


async def test_two_keys_that_differ_are_refused(gateway, team, provider):
    other = await gateway.make_team()
    answer = await ask(gateway, ("x-api-key", team.key), ("api-key", other.key))
    assert answer.status == 400
    assert answer.document["error"]["type"] == "invalid_request_error"
    assert provider.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-api-key", "")],
        [("x-api-key", "gw_unknown")],
        [("x-api-key", "gw_" + "A" * 43)],
        [("authorization", "Bearer ")],
        [("authorization", "Basic Z3c6Z3c=")],
        [("x-api-key", "gw_" + "x" * 5000)],
    ],
    ids=["none", "empty", "short", "unknown", "empty bearer", "basic", "very long"],
)
async def test_no_valid_key_is_one_constant_answer(gateway, provider, headers):
    answer = await ask(gateway, *headers)
    assert answer.status == 401
    assert answer.document["type"] == "error"
    assert answer.document["error"]["type"] == "authentication_error"
    assert answer.document["request_id"] == answer.header("x-gateway-request-id")
    chat = await ask(gateway, *headers, target="/v1/chat/completions")
    assert chat.status == 401
    assert chat.document["error"]["type"] == "invalid_request_error"
    assert chat.document["error"]["code"] == "invalid_api_key"
    assert chat.document["error"]["message"] == answer.document["error"]["message"]
    assert "gw_unknown" not in str(answer.document)
    assert provider.requests == []


async def test_a_new_key_works_at_once(gateway, team):
    """Even where the same text was refused, and remembered as unknown, a moment ago."""
    for _ in range(3):
        _, key = await gateway.make_key(team.team_id)
        assert (await ask(gateway, ("x-api-key", key))).status == 200


async def test_a_revoked_key_fails_within_a_second(gateway, team):
    assert (await ask(gateway, ("x-api-key", team.key))).status == 200
    await gateway.execute(
        "UPDATE ledger.api_key SET revoked_at = now() WHERE api_key_id = $1", team.api_key_id
    )
    started_s = time.monotonic()
    while (await ask(gateway, ("x-api-key", team.key))).status == 200:
        assert time.monotonic() - started_s < FAILS_WITHIN_S
        await asyncio.sleep(0.01)
    assert (await ask(gateway, ("x-api-key", team.key))).status == 401


async def test_a_key_of_an_archived_team_fails_within_a_second(gateway, team):
    assert (await ask(gateway, ("x-api-key", team.key))).status == 200
    await gateway.execute(
        "UPDATE ledger.team SET archived_at = now() WHERE team_id = $1", team.team_id
    )
    started_s = time.monotonic()
    while (await ask(gateway, ("x-api-key", team.key))).status == 200:
        assert time.monotonic() - started_s < FAILS_WITHIN_S
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/chat/completions"])
async def test_the_clients_credential_never_goes_upstream(gateway, team, provider, target):
    secrets = [
        ("authorization", f"Bearer {team.key}"),
        ("x-api-key", team.key),
        ("api-key", team.key),
        ("cookie", f"session={team.key}"),
        ("proxy-authorization", f"Bearer {team.key}"),
        ("openai-organization", "org-of-the-client"),
        ("x-forwarded-for", "10.0.0.1"),
    ]
    answer = await ask(gateway, *secrets, target=target)
    assert answer.status == 200
    sent = provider.requests[0]
    assert team.key not in str(sent.headers)
    assert team.key.encode() not in sent.body
    names = {name.lower() for name, _ in sent.headers}
    is_anthropic = target == "/v1/messages"
    assert ("x-api-key" in names) == is_anthropic
    assert ("authorization" in names) == (not is_anthropic)
    assert not names & {"cookie", "proxy-authorization", "openai-organization", "x-forwarded-for"}
    credential = ANTHROPIC_CREDENTIAL if is_anthropic else OPENAI_CREDENTIAL
    assert credential in str(sent.headers)


async def test_the_providers_credential_never_comes_down(gateway, team, provider):
    leaky = [
        ("x-api-key", ANTHROPIC_CREDENTIAL),
        ("authorization", f"Bearer {ANTHROPIC_CREDENTIAL}"),
        ("set-cookie", f"key={ANTHROPIC_CREDENTIAL}"),
        ("anthropic-organization-id", "org-of-the-operator"),
    ]
    provider.will(saying({"type": "message"}).with_headers(*leaky))
    answer = await ask(gateway, ("x-api-key", team.key))
    assert ANTHROPIC_CREDENTIAL not in str(answer.headers)
    names = {name.lower() for name, _ in answer.headers}
    assert not names & {name for name, _ in leaky}


async def test_a_cookie_of_the_provider_is_never_sent_back(gateway, team, provider):
    provider.will(saying({"type": "message"}).with_headers(("set-cookie", "a=b; Path=/")))
    await ask(gateway, ("x-api-key", team.key))
    await ask(gateway, ("x-api-key", team.key))
    assert provider.requests[1].header("cookie") is None


async def test_only_health_answers_without_a_key(gateway):
    for target in ("/livez", "/readyz", "/_liveness", "/_readiness"):
        assert (await gateway.get(target)).status == 200
    for target in ("/v1/models", "/v1/usage", "/posthog_code/v1/models"):
        assert (await gateway.get(target)).status == 401


async def test_a_provider_without_a_credential_is_named(make_gateway):
    gateway = make_gateway(GATEWAY_ANTHROPIC_API_KEY="")
    team = await gateway.make_team()
    answer = await ask(gateway, ("x-api-key", team.key))
    assert answer.status == 503
    assert answer.header("x-should-retry") == "false"
    assert "GATEWAY_ANTHROPIC_API_KEY" in answer.document["error"]["message"]
    assert answer.document["error"]["type"] == "api_error"
    assert gateway.provider.requests == []
    assert await gateway.settled_count(team) == 0


async def test_the_admin_token_is_taken_as_a_bearer_token_alone(make_gateway):
    token = "token-of-the-operator"
    admin_url = make_gateway(GATEWAY_ADMIN_TOKEN=token).running.admin_url
    for value, status in (
        (f"Bearer {token}", 200),
        (f"bearer {token}", 200),
        (token, 401),
        (f"Basic {token}", 401),
        (f"Bearer {token}x", 401),
        (f"Bearer Bearer {token}", 401),
        ("Bearer ", 401),
        ("", 401),
    ):
        answer = await request(admin_url, "GET", "/metrics", [("authorization", value)])
        assert answer.status == status, value
    assert (await request(admin_url, "GET", "/metrics")).status == 401
