"""Keys that may call some models alone."""

import pytest

from tests.fakes.dialects import RESPONSE
from tests.fixtures.gateway import chat_body, messages_body


@pytest.fixture
async def limited(gateway):
    team = await gateway.make_team()
    await gateway.execute(
        "UPDATE ledger.api_key SET allowed_models = $2 WHERE api_key_id = $1",
        team.api_key_id,
        ["claude-*", "gpt-4o-mini"],
    )
    return team


async def test_a_model_that_the_key_may_not_call_is_a_403_and_reaches_nobody(
    gateway, provider, limited
):
    answer = await gateway.post("/v1/chat/completions", chat_body(model="gpt-5.4"), limited)
    assert answer.status == 403
    error = answer.document["error"]
    assert error["type"] == "permission_error"
    assert "gpt-5.4" in error["message"]
    refused = await gateway.post("/v1/messages", messages_body(model="sonnet"), limited)
    assert refused.status == 403
    assert refused.document["error"]["type"] == "permission_error"
    assert provider.requests == []
    assert await gateway.settled_count(limited) == 0


async def test_a_model_that_the_key_may_not_call_may_not_answer_instead(gateway, provider, limited):
    for extra in (', "models": ["gpt-5.4"]', ', "fallbacks": [{"model": "gpt-5.4"}]'):
        body = chat_body(extra, model="gpt-4o-mini")
        answer = await gateway.post("/v1/chat/completions", body, limited)
        assert answer.status == 403
        assert "gpt-5.4" in answer.document["error"]["message"]
    assert provider.requests == []


ADVISOR = '{"type":"advisor_20260301","name":"advisor","model":"%s"}'
ARTIST = '{"type":"image_generation","model":"%s"}'
FUNCTION = '{"type":"function","name":"f","parameters":{"properties":{"model":{"const":"x"}}}}'


def with_tools(target, *tools, model="gpt-4o-mini"):
    extra = f', "tools": [{",".join(tools)}]'
    if target == "/v1/messages":
        return messages_body(extra)
    return b'{"model": "%b", "input": "x"%b}' % (model.encode(), extra.encode())


@pytest.mark.parametrize(
    ("target", "tools"),
    [
        ("/v1/messages", [ADVISOR % "gpt-5.4"]),
        ("/v1/messages", [FUNCTION, ADVISOR % "gpt-5.4"]),
        ("/v1/messages", [(ADVISOR % "gpt-5.4").replace("advisor_", "advis\\u006fr_")]),
        ("/v1/messages", [(ADVISOR % "gpt-5.4").replace('"model"', '"m\\u006fdel"')]),
        ("/v1/messages", [(ADVISOR % "gpt-5.4")[:-1] + ',"model":"claude-opus-4-8"}']),
        ("/v1/messages", [(ADVISOR % "claude-opus-4-8")[:-1] + ',"model":"gpt-5.4"}']),
        ("/v1/responses", [ARTIST % "gpt-5.4"]),
        ("/v1/responses", ['{"type":"x:image_generation","parameters":{"model":"gpt-5.4"}}']),
    ],
)
async def test_a_model_that_the_key_may_not_call_may_not_stand_in_a_tool(
    gateway, provider, limited, target, tools
):
    answer = await gateway.post(target, with_tools(target, *tools), limited)
    assert answer.status == 403, answer.body
    assert "gpt-5.4" in answer.document["error"]["message"]
    assert provider.requests == []
    assert await gateway.settled_count(limited) == 0


async def test_tools_that_stand_there_twice_are_refused(gateway, provider, limited):
    extra = f', "tools": [{ADVISOR % "gpt-5.4"}], "tools": []'
    assert (await gateway.post("/v1/messages", messages_body(extra), limited)).status == 400
    assert provider.requests == []


async def test_tools_of_models_that_it_may_call_are_served(gateway, provider, limited):
    tools = [FUNCTION, ADVISOR % "claude-opus-4-8"]
    body = with_tools("/v1/messages", *tools)
    assert (await gateway.post("/v1/messages", body, limited)).status == 200
    provider.will(RESPONSE.answer)
    body = with_tools("/v1/responses", ARTIST % "gpt-4o-mini", FUNCTION)
    assert (await gateway.post("/v1/responses", body, limited)).status == 200
    await gateway.entries(limited, 2)


async def test_a_key_without_a_list_may_have_any_adviser(gateway, team):
    body = with_tools("/v1/messages", ADVISOR % "gpt-5.4")
    assert (await gateway.post("/v1/messages", body, team)).status == 200
    await gateway.entry(team)


async def test_tools_of_any_shape_are_the_providers_business(gateway, limited):
    for tools in ("null", '"image_generation"', '[1, "advisor_", [{"model": "gpt-5.4"}]]'):
        body = messages_body(f', "tools": {tools}')
        assert (await gateway.post("/v1/messages", body, limited)).status == 200
    await gateway.entries(limited, 3)


async def test_models_that_it_may_call_are_served_by_name_and_by_beginning(gateway, limited):
    assert (await gateway.post("/v1/messages", messages_body(), limited)).status == 200
    answer = await gateway.post("/v1/chat/completions", chat_body(model="gpt-4o-mini"), limited)
    assert answer.status == 200
    await gateway.entries(limited, 2)


async def test_the_list_of_models_is_what_the_key_may_call(gateway, limited):
    page = (await gateway.get("/v1/models", limited.headers)).document
    names = {model["id"] for model in page["data"]}
    assert {"gpt-4o-mini", "claude-sonnet-4-6"} <= names
    assert all(name.startswith("claude-") for name in names - {"gpt-4o-mini"})
    headers = [*limited.headers, ("anthropic-version", "2023-06-01")]
    page = (await gateway.get("/v1/models", headers)).document
    assert page["data"]
    assert all(model["id"].startswith("claude-") for model in page["data"])
