"""The official anthropic SDK, nothing but base URL and key changed."""

import asyncio

import anthropic
import pytest

from tests.fakes.provider import playing, saying
from tests.fakes.transcripts import (
    ANTHROPIC_STREAM,
    ANTHROPIC_TEXT,
    ANTHROPIC_THINKING_TOOLS_STREAM,
    ANTHROPIC_TOOLS,
    SONNET,
)
from tests.fixtures.gateway import ANTHROPIC_CREDENTIAL

HELLO = [{"role": "user", "content": "Grüezi"}]
TEXT = "The ledger balances: every cent has a row — “really”. ✓"
TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]


def ask(**changes):
    return {"model": SONNET, "max_tokens": 64, "messages": HELLO, **changes}


async def test_a_message_is_answered(gateway, team, provider):
    async with gateway.anthropic(team) as client:
        message = await client.messages.create(**ask())
    assert message.id == ANTHROPIC_TEXT.response_id
    assert message.content[0].text == "Grüezi."
    assert message.usage.output_tokens == 9
    assert message._request_id == f"req_{ANTHROPIC_TEXT.response_id}"
    assert provider.requests[0].path == "/anthropic/v1/messages"
    assert provider.requests[0].header("x-api-key") == ANTHROPIC_CREDENTIAL
    assert provider.requests[0].header("anthropic-version")


async def test_a_message_is_answered_to_the_synchronous_client(gateway, team):
    def call():
        with gateway.anthropic_sync(team) as client:
            return client.messages.create(**ask())

    message = await asyncio.to_thread(call)
    assert message.content[0].text == "Grüezi."


async def test_a_stream_of_raw_events_is_heard_in_order(gateway, team):
    async with gateway.anthropic(team) as client:
        stream = await client.messages.create(**ask(stream=True))
        kinds = [event.type async for event in stream]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_delta") == 10


async def test_the_stream_helper_accumulates_text(gateway, team):
    async with gateway.anthropic(team) as client, client.messages.stream(**ask()) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    assert text == TEXT
    assert message.id == ANTHROPIC_STREAM.response_id
    assert message.usage.output_tokens == 12


async def test_the_synchronous_stream_helper_accumulates_text(gateway, team):
    def call():
        with gateway.anthropic_sync(team) as client, client.messages.stream(**ask()) as stream:
            return "".join(stream.text_stream), stream.get_final_message()

    text, message = await asyncio.to_thread(call)
    assert text == TEXT
    assert message.stop_reason == "end_turn"


async def test_thinking_and_a_tool_call_stream_through(gateway, team, provider):
    provider.will(playing(ANTHROPIC_THINKING_TOOLS_STREAM))
    thinking = {"type": "enabled", "budget_tokens": 1024}
    async with (
        gateway.anthropic(team) as client,
        client.messages.stream(**ask(max_tokens=2048, thinking=thinking, tools=TOOLS)) as stream,
    ):
        message = await stream.get_final_message()
    thought, text, tool = message.content
    assert thought.signature == "c2lnbmVkLWJ5LXRoZS1mYWtl"
    assert '"usage":{"output_tokens":999999}' in thought.thinking
    assert text.text == "Let me look."
    assert tool.name == "get_weather"
    assert tool.input == {"city": "Zürich", "unit": "c"}
    assert message.stop_reason == "tool_use"
    assert message.usage.cache_creation.ephemeral_1h_input_tokens == 500
    assert provider.requests[0].document["tools"] == TOOLS
    assert provider.requests[0].document["thinking"] == thinking


async def test_thinking_and_a_tool_call_come_whole(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TOOLS))
    async with gateway.anthropic(team) as client:
        message = await client.messages.create(**ask(tools=TOOLS))
    assert message.content[0].type == "thinking"
    assert message.content[1].input == {"city": "Bern"}


async def test_structured_output_is_parsed(gateway, team, provider):
    document = ANTHROPIC_TEXT.document
    document["content"] = [{"type": "text", "text": '{"city": "Bern"}'}]
    provider.will(saying(document))
    schema = {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}
    async with gateway.anthropic(team) as client:
        message = await client.messages.create(**ask(output_config={"format": schema}))
    assert message.content[0].text == '{"city": "Bern"}'
    assert provider.requests[0].document["output_config"]["format"] == schema


async def test_tokens_are_counted_free_of_charge(gateway, team, provider):
    async with gateway.anthropic(team) as client:
        count = await client.messages.count_tokens(model=SONNET, messages=HELLO)
    assert count.input_tokens == 17
    assert provider.requests[0].path == "/anthropic/v1/messages/count_tokens"
    assert await gateway.settled_count(team) == 0


async def test_models_are_listed_in_anthropics_shape(gateway, team):
    async with gateway.anthropic(team) as client:
        names = [model.id async for model in client.models.list()]
    assert SONNET in names
    assert "gpt-4o-mini" not in names


async def test_a_product_in_the_base_url_is_recorded(gateway, team):
    async with gateway.anthropic(team, "/posthog_code") as client:
        await client.messages.create(**ask())
    assert (await gateway.entry(team))["product"] == "posthog_code"


async def test_a_bearer_token_is_a_credential_too(gateway, team):
    async with anthropic.AsyncAnthropic(base_url=gateway.url, auth_token=team.key) as client:
        assert (await client.messages.create(**ask())).stop_reason == "end_turn"


async def test_beta_headers_reach_the_provider(gateway, team, provider):
    async with gateway.anthropic(team) as client:
        await client.beta.messages.create(**ask(), betas=["context-management-2025-06-27"])
    assert provider.requests[0].header("anthropic-beta") == "context-management-2025-06-27"


async def test_the_sdk_retries_what_the_provider_says_passes(gateway, team, provider):
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    provider.will(saying(overloaded, 529).with_headers(("retry-after-ms", "1")))
    async with gateway.anthropic(team) as client:
        message = await client.messages.create(**ask())
    assert message.stop_reason == "end_turn"
    first, second = await gateway.entries(team, 2)
    assert (first["http_status"], first["amount_usd"]) == (529, 0)
    assert second["amount_usd"] == ANTHROPIC_TEXT.amount_usd


async def test_an_error_inside_a_stream_reaches_the_sdk(gateway, team, provider):
    error = (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"Overloaded"}}\n\n'
    )
    answer = playing(ANTHROPIC_STREAM)
    provider.will(playing(ANTHROPIC_STREAM, pieces=(*answer.pieces[:5], error)))
    async with gateway.anthropic(team) as client:
        stream = await client.messages.create(**ask(stream=True))
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async for _ in stream:
                pass
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0
    event = await gateway.event(entry["entry_id"])
    assert event["properties"]["$ai_is_error"] is True
    assert event["properties"]["$ai_error"] == "overloaded_error"
