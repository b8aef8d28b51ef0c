"""The official openai SDK, nothing but base URL and key changed."""

import asyncio

import openai
import pytest
from pydantic import BaseModel

from tests.fakes.provider import playing, saying
from tests.fakes.transcripts import (
    GPT,
    OPENAI_REASONING,
    OPENAI_STREAM,
    OPENAI_STRUCTURED,
    OPENAI_TEXT,
    OPENAI_TOOLS,
    OPENAI_TOOLS_STREAM,
)
from tests.fixtures.gateway import OPENAI_CREDENTIAL

HELLO = [{"role": "user", "content": "Grüezi"}]
TEXT = "Every cent has a row — “really”. ✓"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


class Weather(BaseModel):
    city: str
    degrees: int


def ask(**changes):
    return {"model": GPT, "messages": HELLO, **changes}


async def test_a_completion_is_answered(gateway, team, provider):
    async with gateway.openai(team) as client:
        completion = await client.chat.completions.create(**ask())
    assert completion.id == OPENAI_TEXT.response_id
    assert completion.choices[0].message.content == "Grüezi."
    assert completion._request_id == f"req_{OPENAI_TEXT.response_id}"
    assert provider.requests[0].path == "/openai/v1/chat/completions"
    assert provider.requests[0].header("authorization") == f"Bearer {OPENAI_CREDENTIAL}"


async def test_a_completion_is_answered_to_the_synchronous_client(gateway, team):
    def call():
        with gateway.openai_sync(team) as client:
            return client.chat.completions.create(**ask())

    completion = await asyncio.to_thread(call)
    assert completion.choices[0].message.content == "Grüezi."


async def test_a_stream_is_heard_without_the_chunk_that_was_not_asked_for(gateway, team):
    async with gateway.openai(team) as client:
        stream = await client.chat.completions.create(**ask(stream=True))
        chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_usage_chunk_comes_where_it_was_asked_for(gateway, team):
    options = {"include_usage": True}
    async with gateway.openai(team) as client:
        stream = await client.chat.completions.create(**ask(stream=True, stream_options=options))
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 40


async def test_a_synchronous_stream_is_heard(gateway, team):
    def call():
        with (
            gateway.openai_sync(team) as client,
            client.chat.completions.create(**ask(stream=True)) as stream,
        ):
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(call) == TEXT


async def test_a_tool_call_streams_through(gateway, team, provider):
    provider.will(playing(OPENAI_TOOLS_STREAM))
    async with (
        gateway.openai(team) as client,
        client.chat.completions.stream(**ask(tools=TOOLS)) as stream,
    ):
        completion = await stream.get_final_completion()
    call = completion.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert call.function.arguments == '{"city":"Zürich"}'


async def test_a_tool_call_comes_whole(gateway, team, provider):
    provider.will(playing(OPENAI_TOOLS))
    async with gateway.openai(team) as client:
        completion = await client.chat.completions.create(**ask(tools=TOOLS))
    assert completion.choices[0].message.tool_calls[0].function.arguments == '{"city":"Bern"}'


async def test_structured_output_is_parsed(gateway, team, provider):
    provider.will(playing(OPENAI_STRUCTURED))
    async with gateway.openai(team) as client:
        completion = await client.chat.completions.parse(
            **ask(model="gpt-4o", response_format=Weather)
        )
    assert completion.choices[0].message.parsed == Weather(city="Bern", degrees=21)
    assert provider.requests[0].document["response_format"]["type"] == "json_schema"


async def test_reasoning_is_asked_for_and_counted(gateway, team, provider):
    provider.will(playing(OPENAI_REASONING))
    async with gateway.openai(team) as client:
        completion = await client.chat.completions.create(
            **ask(model="gpt-5", reasoning_effort="high", max_completion_tokens=4000)
        )
    assert completion.usage.completion_tokens_details.reasoning_tokens == 300
    entry = await gateway.entry(team)
    assert entry["reasoning_tokens"] == 300
    assert entry["amount_usd"] == OPENAI_REASONING.amount_usd
    event = await gateway.event(entry["entry_id"])
    assert event["properties"]["$ai_effort"] == "high"


async def test_models_are_listed_in_openais_shape(gateway, team):
    async with gateway.openai(team) as client:
        names = [model.id async for model in client.models.list()]
    assert GPT in names


async def test_a_product_in_the_base_url_is_recorded(gateway, team):
    async with gateway.openai(team, "/slack_app") as client:
        await client.chat.completions.create(**ask())
    assert (await gateway.entry(team))["product"] == "slack_app"


async def test_a_providers_refusal_is_the_sdks_own_exception(gateway, team, provider):
    error = {"message": "No.", "type": "invalid_request_error", "param": "n", "code": "bad_n"}
    provider.will(saying({"error": error}, 400))
    async with gateway.openai(team) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**ask())
    assert caught.value.code == "bad_n"
    assert caught.value.param == "n"


async def test_the_sdk_retries_what_the_provider_says_passes(gateway, team, provider):
    error = {"message": "Slow down.", "type": "tokens", "param": None, "code": "rate_limit"}
    provider.will(saying({"error": error}, 429).with_headers(("retry-after-ms", "1")))
    async with gateway.openai(team) as client:
        completion = await client.chat.completions.create(**ask())
    assert completion.id == OPENAI_TEXT.response_id
    refused, answered = await gateway.entries(team, 2)
    assert (refused["http_status"], refused["amount_usd"]) == (429, 0)
    assert answered["amount_usd"] == OPENAI_TEXT.amount_usd


async def test_include_usage_is_added_and_every_other_byte_is_the_clients(gateway, team, provider):
    body = (
        b'{"messages":[{"role":"user","content":"a\\u00fc"}] , "stream":true,"model":"gpt-4o-mini"}'
    )
    answer = await gateway.post("/v1/chat/completions", body, team)
    assert answer.is_whole
    sent = provider.requests[0].body
    assert provider.requests[0].document["stream_options"] == {"include_usage": True}
    start = next(
        at for at in range(len(body) + 1) if body[at:] == sent[at + len(sent) - len(body) :]
    )
    assert sent[:start] == body[:start]
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == OPENAI_STREAM.amount_usd
    assert entry["usage_source"] == "exact"
