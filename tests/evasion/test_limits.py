"""E51: a limit that the model does not heed, so that a call holds less than it can cost."""

import asyncio
import json

import pytest

from tests.fakes.dialects import (
    CONVERSE,
    EVENT_STREAM_TYPE,
    GENERATION,
    INVOKE,
    compact,
    data,
    frame,
)
from tests.fakes.provider import Answer, playing
from tests.fakes.transcripts import OPENAI_TEXT
from tests.fixtures.gateway import chat_body

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
GPT_OSS = "/model/openai.gpt-oss-120b-1:0/invoke"
# More than the input of these calls and a token of output, less than an answer without a limit.
CAP_USD = "0.035"
WORDS = "word " * 80


def bedrock_body(sample, **changes):
    document = json.loads(sample.request)
    for name in ("inferenceConfig", "max_tokens"):
        document.pop(name, None)
    return json.dumps(document | changes).encode()


UNHEEDED = {
    "DeepSeek": (CHAT, chat_body(', "max_completion_tokens": 1', model="deepseek-chat")),
    "a model of Converse": (CONVERSE.target, bedrock_body(CONVERSE, max_tokens=1)),
    "Converse, as Llama": (CONVERSE.target, bedrock_body(CONVERSE, max_gen_len=1)),
    "Claude, as Nova": (INVOKE.target, bedrock_body(INVOKE, inferenceConfig={"maxTokens": 1})),
    "gpt-oss": (GPT_OSS, b'{"messages":[],"max_tokens":1,"max_completion_tokens":60000}'),
}
HEEDED = {
    "DeepSeek": (CHAT, chat_body(', "max_tokens": 1', model="deepseek-chat")),
    "OpenAI": (CHAT, chat_body(', "max_completion_tokens": 1', model="gpt-5")),
    "xAI": (CHAT, chat_body(', "max_completion_tokens": 1', model="grok-4")),
    "Converse": (CONVERSE.target, bedrock_body(CONVERSE, inferenceConfig={"maxTokens": 1})),
    "Claude": (INVOKE.target, bedrock_body(INVOKE, max_tokens=1)),
    "gpt-oss": (GPT_OSS, b'{"messages":[],"max_completion_tokens":1}'),
}


async def strict_team(gateway):
    return await gateway.make_team(CAP_USD, enforcement="strict")


@pytest.mark.parametrize(("target", "body"), UNHEEDED.values(), ids=UNHEEDED.keys())
async def test_e51_a_limit_that_the_model_does_not_heed_bounds_no_hold(
    gateway, provider, target, body
):
    answer = await gateway.post(target, body, await strict_team(gateway))
    assert answer.status in {400, 429}, answer.body
    assert b"cap" in answer.body or b"budget" in answer.body.lower()
    assert provider.requests == []


@pytest.mark.parametrize(("target", "body"), HEEDED.values(), ids=HEEDED.keys())
async def test_e51_one_that_it_heeds_does(gateway, provider, target, body):
    provider.will(playing(OPENAI_TEXT))
    answer = await gateway.post(target, body, await strict_team(gateway))
    assert answer.status == 200, answer.body


def hanging(*pieces, content_type):
    """An answer of which so much comes, and no usage ever."""
    return Answer(
        headers=(("content-type", content_type),), pieces=pieces, hangs_after_pieces=len(pieces)
    )


def chat_pieces():
    choice = {"index": 0, "delta": {"content": WORDS}, "finish_reason": None}
    return [data({"id": "c", "model": "deepseek-chat", "choices": [choice]})] * 10


def converse_pieces():
    delta = {"contentBlockIndex": 0, "delta": {"text": WORDS}}
    return [frame("messageStart", {"role": "assistant"}), *[frame("contentBlockDelta", delta)] * 10]


SEEN = {
    "a chat": (
        CHAT,
        chat_body(', "max_completion_tokens": 1', stream=True, model="deepseek-chat"),
        hanging(*chat_pieces(), content_type="text/event-stream"),
    ),
    "a conversation": (
        f"{CONVERSE.target}-stream",
        bedrock_body(CONVERSE, max_tokens=1),
        hanging(*converse_pieces(), content_type=EVENT_STREAM_TYPE),
    ),
}


@pytest.mark.parametrize(("target", "body", "answer"), SEEN.values(), ids=SEEN.keys())
async def test_e51_what_was_seen_is_charged_where_the_limit_is_not_heeded(
    gateway, team, provider, target, body, answer
):
    provider.will(answer)
    async with gateway.connected() as connection, asyncio.timeout(10):
        connection.send("POST", target, team.headers, body)
        heard = await connection.head()
        source = connection.pieces(heard)
        while heard.body.count(b"word ") < 80 * 9:
            await anext(source)
        connection.leave()
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["output_tokens"] >= 9 * len(WORDS) // 4


# E57: what a body only refers to, and tools that run at the provider.

REFERRING = {
    "an earlier answer": ("/v1/responses", {"input": "x", "previous_response_id": "resp_1"}),
    "a page": (
        MESSAGES,
        {"messages": [{"role": "user", "content": [{"source": {"url": "https://a.example/b"}}]}]},
    ),
    "a film": (GENERATION.target, {"contents": [{"parts": [{"fileData": {"fileUri": "gs://a"}}]}]}),
    "searches": ("/v1/responses", {"input": "x", "tools": [{"type": "web_search"}]}),
    "searches with a limit": (
        MESSAGES,
        {
            "messages": [],
            "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 10}],
        },
    ),
}
_MODELS = {MESSAGES: "claude-sonnet-5-5", "/v1/responses": "gpt-5"}
_LIMITS = {
    MESSAGES: {"max_tokens": 100},
    "/v1/responses": {"max_output_tokens": 100},
    GENERATION.target: {"generationConfig": {"maxOutputTokens": 100}},
}


@pytest.mark.parametrize(("target", "fields"), REFERRING.values(), ids=REFERRING.keys())
async def test_e57_what_a_body_only_refers_to_is_held_for_where_the_cap_is_strict(
    gateway, provider, target, fields
):
    """The body alone would fit a hundred times."""
    body = json.dumps({"model": _MODELS.get(target, "m"), **fields, **_LIMITS[target]}).encode()
    team = await gateway.make_team("0.20", enforcement="strict")
    for _ in range(2):
        # The second is decided from memory.
        answer = await gateway.post(target, body, team)
        assert answer.status in {403, 429}, answer.body
    assert provider.requests == []


# E5 in the dialects that name their model in the path, and for what multiplies an answer.

TWICE = {
    "a limit of Gemini's": (
        GENERATION.target,
        b'{"contents":[],"generationConfig":{"maxOutputTokens":65000,"maxOutputTokens":1}}',
    ),
    "Gemini's configuration": (
        GENERATION.target,
        b'{"contents":[],"generationConfig":{"maxOutputTokens":9},"generationConfig":{}}',
    ),
    "Gemini's in escapes": (
        GENERATION.target,
        b'{"contents":[],"generationConfig":{},"generation\\u0043onfig":{"maxOutputTokens":9}}',
    ),
    "Gemini's in other letters": (
        GENERATION.target,
        b'{"contents":[],"GenerationConfig":{"maxOutputTokens":9}}',
    ),
    "a tier of Gemini's": (
        GENERATION.target,
        b'{"contents":[],"serviceTier":"priority","serviceTier":"flex"}',
    ),
    "prompts that are answered each": (
        "/v1/completions",
        b'{"model":"gpt-3.5-turbo-instruct","prompt":["a","b","c"],"prompt":"a"}',
    ),
    "tools": (
        "/v1/responses",
        b'{"model":"gpt-5","input":"x","tools":[{"type":"image_generation"}],"tools":[]}',
    ),
    "a limit of Claude's": (INVOKE.target, b'{"messages":[],"max_tokens":60000,"max_tokens":1}'),
    "a limit of gpt-oss": (
        GPT_OSS,
        b'{"messages":[],"max_completion_tokens":60000,"max_completion_tokens":1}',
    ),
    "a limit of Converse's": (
        CONVERSE.target,
        b'{"messages":[],"inferenceConfig":{"maxTokens":60000,"maxTokens":1}}',
    ),
    "Converse's configuration": (
        CONVERSE.target,
        b'{"messages":[],"inferenceConfig":{},"inferenceConfig":{"maxTokens":1}}',
    ),
    "what Converse passes on": (
        CONVERSE.target,
        compact({"inferenceConfig": {"maxTokens": 1}, "additionalModelRequestFields": {}})[:-1]
        + b',"additionalModelRequestFields":{"max_tokens":60000}}',
    ),
    "a tier of Converse's": (
        CONVERSE.target,
        b'{"messages":[],"serviceTier":{"type":"priority","type":"flex"}}',
    ),
}


@pytest.mark.parametrize(("target", "body"), TWICE.values(), ids=TWICE.keys())
async def test_e5_e6_a_budget_field_of_two_readings_is_refused_there_as_well(
    gateway, payer, target, body
):
    answer = await gateway.post(target, body, payer)
    assert answer.status == 400, answer.body
    assert gateway.provider.requests == []


async def test_no_refusal_above_made_an_entry(gateway, payer):
    assert await gateway.settled_count(payer) == 0
    assert await gateway.held_usd(payer) == 0
