"""Prompts and completions reach PostHog where the operator says so, whole or visibly cut."""

import pytest

from gateway.wire.content import CONTENT_BYTES_MAX
from tests.fakes.provider import playing
from tests.fakes.transcripts import (
    ANTHROPIC_STREAM,
    ANTHROPIC_TEXT,
    ANTHROPIC_THINKING_TOOLS_STREAM,
    OPENAI_STREAM,
    OPENAI_TOOLS_STREAM,
)
from tests.fixtures.gateway import chat_body, messages_body

SYSTEM = ', "system": "Be brief."'
SAID = "The ledger balances: every cent has a row — “really”. ✓"
ANTHROPIC_PROMPT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüezi"},
]


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    return make_gateway(GATEWAY_POSTHOG_CAPTURE_CONTENT="true")


async def properties_of(gateway, answer):
    assert answer.status == 200, answer.body
    return (await gateway.event(answer.header("x-gateway-request-id")))["properties"]


def text_of(choices):
    return "".join(part.get("text", "") for choice in choices for part in choice["content"])


async def test_a_stream_of_anthropics(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM))
    answer = await gateway.post("/v1/messages", messages_body(SYSTEM, stream=True), team)
    assert answer.body == ANTHROPIC_STREAM.body
    properties = await properties_of(gateway, answer)
    assert properties["$ai_input"] == ANTHROPIC_PROMPT
    assert properties["$ai_output_choices"] == [
        {"role": "assistant", "content": [{"type": "text", "text": SAID}]}
    ]


async def test_a_document_of_anthropics(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    answer = await gateway.post("/v1/messages", messages_body(SYSTEM), team)
    properties = await properties_of(gateway, answer)
    assert properties["$ai_input"] == ANTHROPIC_PROMPT
    said = [block["text"] for block in ANTHROPIC_TEXT.document["content"]]
    assert text_of(properties["$ai_output_choices"]) == "".join(said)


async def test_thoughts_and_function_calls(gateway, team, provider):
    provider.will(playing(ANTHROPIC_THINKING_TOOLS_STREAM), playing(OPENAI_TOOLS_STREAM))
    answer = await gateway.post("/v1/messages", messages_body(stream=True), team)
    (choice,) = (await properties_of(gateway, answer))["$ai_output_choices"]
    assert {part["type"] for part in choice["content"]} >= {"thinking", "function"}
    answer = await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    (choice,) = (await properties_of(gateway, answer))["$ai_output_choices"]
    function = next(part for part in choice["content"] if part["type"] == "function")
    assert function["id"]
    assert function["function"]["name"]
    assert function["function"]["arguments"].startswith("{")


async def test_a_stream_of_openais(gateway, team, provider):
    provider.will(playing(OPENAI_STREAM))
    answer = await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    properties = await properties_of(gateway, answer)
    assert properties["$ai_input"] == [{"role": "user", "content": "Grüezi"}]
    assert text_of(properties["$ai_output_choices"])


async def test_a_providers_error_has_the_prompt_and_no_completion(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT, status=400))
    answer = await gateway.post("/v1/messages", messages_body(SYSTEM), team)
    properties = (await gateway.event(answer.header("x-gateway-request-id")))["properties"]
    assert properties["$ai_input"] == ANTHROPIC_PROMPT
    assert "$ai_output_choices" not in properties


async def test_an_oversized_prompt_is_cut_where_it_shows(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    # Beyond PostHog's own limit of an event, which would drop all of the content.
    long = messages_body().replace("Grüezi".encode(), b"begin " + b'x\\"' * 700_000 + b" the end")
    answer = await gateway.post("/v1/messages", long, team)
    assert provider.requests[-1].body == long
    properties = await properties_of(gateway, answer)
    ((role, content),) = ((one["role"], one["content"]) for one in properties["$ai_input"])
    assert role == "user"
    assert len(content) < CONTENT_BYTES_MAX
    assert '"content": "begin x' in content
    assert "bytes left out by the gateway" in content
    assert content.endswith(' the end"}]')
    assert text_of(properties["$ai_output_choices"])
    assert properties["$ai_total_cost_usd"] > 0


async def test_what_is_captured_is_not_in_the_ledger(gateway, team, provider):
    provider.will(playing(ANTHROPIC_STREAM))
    answer = await gateway.post("/v1/messages", messages_body(SYSTEM, stream=True), team)
    await properties_of(gateway, answer)
    rows = await gateway.fetch("SELECT entry::text AS text FROM ledger.ledger_entry entry")
    assert not [row for row in rows if "Grüezi" in row["text"] or "balances" in row["text"]]
    assert [row for row in rows if answer.header("x-gateway-request-id") in row["text"]]
