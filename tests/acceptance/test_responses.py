"""OpenAI Responses through the official SDK: streams and their terminal events, tools, refusals."""

import openai
import pytest
from pydantic import BaseModel

from tests.fakes.dialects import (
    RESPONSE,
    RESPONSE_STREAM,
    TEXT,
    encoded,
    named,
    response,
    response_events,
    streamed,
    whole,
)
from tests.fakes.provider import saying
from tests.fixtures.gateway import OPENAI_CREDENTIAL

ASK = {"model": "gpt-5", "input": "Grüezi"}
TOOLS = [
    {
        "type": "function",
        "name": "get_weather",
        "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]


class Weather(BaseModel):
    city: str
    degrees: int


async def test_a_response_is_answered(gateway, team, provider):
    provider.will(RESPONSE.answer)
    async with gateway.openai(team) as client:
        answer = await client.responses.create(**ASK, reasoning={"effort": "high"})
    assert answer.output_text == TEXT
    assert answer.usage.output_tokens_details.reasoning_tokens == 40
    (sent,) = provider.requests
    assert sent.path == "/openai/v1/responses"
    assert sent.header("authorization") == f"Bearer {OPENAI_CREDENTIAL}"
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == RESPONSE.amount_usd
    event = await gateway.event(entry["entry_id"])
    assert event["properties"]["$ai_effort"] == "high"


async def test_a_response_streams(gateway, team, provider):
    provider.will(RESPONSE_STREAM.answer)
    async with gateway.openai(team) as client, client.responses.stream(**ASK) as stream:
        words = [event.delta async for event in stream if event.type.endswith("text.delta")]
        final = await stream.get_final_response()
    assert "".join(words) == final.output_text == TEXT
    assert (await gateway.entry(team))["amount_usd"] == RESPONSE.amount_usd


async def test_a_tool_is_called(gateway, team, provider):
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "get_weather",
        "arguments": '{"city":"Zürich"}',
        "status": "completed",
    }
    provider.will(whole(response(output=[call])))
    async with gateway.openai(team) as client:
        answer = await client.responses.create(**ASK, tools=TOOLS)
    assert answer.output[0].arguments == '{"city":"Zürich"}'
    assert provider.requests[0].document["tools"] == TOOLS


async def test_structured_output_is_parsed(gateway, team, provider):
    document = response()
    document["output"][0]["content"][0]["text"] = '{"city":"Bern","degrees":21}'
    provider.will(whole(document))
    async with gateway.openai(team) as client:
        answer = await client.responses.parse(**ASK, text_format=Weather)
    assert answer.output_parsed == Weather(city="Bern", degrees=21)


async def test_an_image_goes_up_as_it_is(gateway, team, provider):
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    provider.will(RESPONSE.answer)
    async with gateway.openai(team) as client:
        await client.responses.create(model="gpt-5", input=[{"role": "user", "content": [picture]}])
    assert provider.requests[0].document["input"][0]["content"] == [picture]


@pytest.mark.parametrize("streams", [False, True])
async def test_background_is_refused_since_its_bill_comes_with_another_request(
    gateway, team, provider, streams
):
    async with gateway.openai(team, max_retries=2) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(**ASK, background=True, stream=streams)
    assert "background" in caught.value.message
    assert provider.requests == []
    assert await gateway.settled_count(team) == 0


async def test_what_stopped_early_is_paid_for(gateway, team, provider):
    end = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    end["usage"] = response()["usage"]
    events = response_events(ends_with={"type": "response.incomplete", "response": end})
    provider.will(streamed(*events))
    async with gateway.openai(team) as client:
        stream = await client.responses.create(**ASK, stream=True)
        kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.incomplete"
    entry = await gateway.entry(team)
    assert (entry["amount_usd"], entry["usage_source"]) == (RESPONSE.amount_usd, "exact")


async def test_a_failure_in_the_middle_is_an_estimate_and_never_nothing(gateway, team, provider):
    error = {"code": "server_error", "message": "It broke."}
    end = response(status="failed", error=error, usage=None)
    events = response_events(ends_with={"type": "response.failed", "response": end})
    provider.will(streamed(*events))
    async with gateway.openai(team) as client:
        stream = await client.responses.create(**ASK, stream=True)
        kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.failed"
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_an_error_event_reaches_the_sdk(gateway, team, provider):
    broken = {"type": "error", "code": "server_error", "message": "Broken.", "param": None}
    provider.will(streamed(*response_events()[:4], named(broken)))
    async with gateway.openai(team) as client:
        stream = await client.responses.create(**ASK, stream=True)
        kinds = [event.type async for event in stream]
    assert kinds[-1] == "error"
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_a_spent_budget_is_a_429_that_the_sdk_does_not_retry(gateway, provider):
    team = await gateway.make_team("0.15")
    await gateway.spend(team, "0.15")
    before = len(provider.requests)
    async with gateway.openai(team, max_retries=3) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.responses.create(**ASK)
    assert caught.value.code == "budget_exceeded"
    assert caught.value.response.headers["x-posthog-budget"] == "exceeded"
    assert len(provider.requests) == before


async def test_a_providers_refusal_is_the_sdks_own_exception(gateway, team, provider):
    error = {"message": "No.", "type": "invalid_request_error", "param": "tools", "code": "bad"}
    provider.will(saying({"error": error}, 400))
    async with gateway.openai(team) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(**ASK)
    assert (caught.value.code, caught.value.param) == ("bad", "tools")
    assert (await gateway.entry(team))["amount_usd"] == 0


@pytest.mark.parametrize(
    "target", ["/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/v1/responses/compact"]
)
async def test_what_would_be_unmetered_is_no_route(gateway, team, provider, target):
    answer = await gateway.post(target, encoded(ASK), team)
    assert answer.status == 404
    assert answer.document["error"]["code"] == "not_found"
    assert provider.requests == []
