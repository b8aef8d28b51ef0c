"""Gemini through Google's own SDK: base URL and key changed, nothing else."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import httpx2 as httpx
import pytest
from google import genai
from google.genai import errors, types

from tests.fakes.dialects import (
    EVERY_PROVIDER,
    GEMINI,
    GENERATION,
    GENERATION_ARRAY,
    GENERATION_STREAM,
    TEXT,
    compact,
    gemini_chunk,
    gemini_chunks,
    gemini_request,
    streamed,
    whole,
)
from tests.fakes.provider import saying

TARGET = f"/v1beta/models/{GEMINI}:generateContent"
STREAM_TARGET = f"/v1beta/models/{GEMINI}:streamGenerateContent"


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    return make_gateway(**EVERY_PROVIDER)


def client_of(gateway, team, product="", **changes):
    options = types.HttpOptions(base_url=gateway.url + product, timeout=20_000, **changes)
    return genai.Client(api_key=team.key, http_options=options)


async def ask(gateway, team, product="", **changes):
    """The synchronous client, as most use it."""

    def call():
        with client_of(gateway, team, product) as client:
            return client.models.generate_content(model=GEMINI, contents="Grüezi", **changes)

    return await asyncio.to_thread(call)


async def test_an_answer_is_heard(gateway, team, provider):
    provider.will(GENERATION.answer)
    answer = await ask(gateway, team)
    assert answer.text == TEXT
    assert answer.usage_metadata.thoughts_token_count == 30
    (sent,) = provider.requests
    assert sent.path == f"/gemini/v1/models/{GEMINI}:generateContent"
    assert sent.header("x-goog-api-key") == "key-of-gemini"
    assert team.key not in str(sent.headers)
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == GENERATION.amount_usd
    assert (entry["provider"], entry["dialect"]) == ("gemini", "gemini")


async def test_a_stream_is_heard(gateway, team, provider):
    provider.will(GENERATION_STREAM.answer)

    def call():
        with client_of(gateway, team, "/slack_app") as client:
            stream = client.models.generate_content_stream(model=GEMINI, contents="Grüezi")
            return [chunk.text for chunk in stream]

    assert "".join(await asyncio.to_thread(call)) == TEXT
    assert provider.requests[0].query == {"alt": "sse"}
    entry = await gateway.entry(team)
    assert (entry["amount_usd"], entry["product"]) == (GENERATION.amount_usd, "slack_app")


async def test_the_asynchronous_client_streams(gateway, team, provider):
    provider.will(GENERATION_STREAM.answer)
    # Its own choice, aiohttp, warns about itself when it is loaded.
    async with (
        httpx.AsyncClient() as http,
        client_of(gateway, team, httpx_async_client=http).aio as client,
    ):
        stream = await client.models.generate_content_stream(model=GEMINI, contents="Grüezi")
        text = "".join([chunk.text async for chunk in stream])
    assert text == TEXT
    assert (await gateway.entry(team))["amount_usd"] == GENERATION.amount_usd


async def test_tokens_are_counted_for_nothing(gateway, team, provider):
    provider.will(whole({"totalTokens": 17}))

    def call():
        with client_of(gateway, team) as client:
            return client.models.count_tokens(model=GEMINI, contents="Grüezi")

    assert (await asyncio.to_thread(call)).total_tokens == 17
    assert provider.requests[0].path == f"/gemini/v1/models/{GEMINI}:countTokens"
    assert await gateway.settled_count(team) == 0


async def test_googles_sdk_lists_the_models_that_it_may_call(gateway, team):
    def call():
        with client_of(gateway, team, "/slack_app") as client:
            return list(client.models.list())

    models = {model.name: model for model in await asyncio.to_thread(call)}
    assert models[f"models/{GEMINI}"].display_name == GEMINI
    assert models[f"models/{GEMINI}"].supported_actions == [
        "generateContent",
        "streamGenerateContent",
        "countTokens",
    ]
    # Neither others' models, nor those that Google takes on routes that are not here.
    assert all(name.startswith(("models/gemini-", "models/gemma-")) for name in models)
    assert not [name for name in models if "embedding" in name or "live" in name]


async def test_models_come_in_googles_shape_for_its_clients_alone(gateway, team):
    for headers in ([("x-goog-api-key", team.key)], [*team.headers, ("x-goog-api-client", "x")]):
        page = (await gateway.get("/v1/models", headers)).document
        assert set(page) == {"models"}
        assert {"name", "displayName", "supportedGenerationMethods"} == set(page["models"][0])
    assert (await gateway.get("/v1/models", team.headers)).document["object"] == "list"
    answer = await gateway.get("/v1beta/models", [("x-goog-api-key", team.key)])
    assert (answer.status, answer.document["error"]["status"]) == (404, "NOT_FOUND")


async def test_a_key_for_some_models_lists_them_alone(gateway, team):
    await gateway.execute(
        "UPDATE ledger.api_key SET allowed_models = $2 WHERE api_key_id = $1",
        team.api_key_id,
        [GEMINI, "gpt-*"],
    )
    page = (await gateway.get("/v1/models", [("x-goog-api-key", team.key)])).document
    assert [model["name"] for model in page["models"]] == [f"models/{GEMINI}"]


async def test_a_tool_is_called(gateway, team, provider):
    chunk = gemini_chunk("", gemini_chunks()[-1]["usageMetadata"], "STOP")
    call = {"functionCall": {"name": "get_weather", "args": {"city": "Zürich"}}}
    chunk["candidates"][0]["content"]["parts"] = [call]
    provider.will(whole(chunk))
    declaration = types.FunctionDeclaration(
        name="get_weather",
        parameters=types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")}),
    )
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declaration])])
    answer = await ask(gateway, team, config=config)
    assert answer.function_calls[0].args == {"city": "Zürich"}
    assert provider.requests[0].document["tools"][0]["functionDeclarations"]


async def test_structured_output_thinking_and_vision_go_up(gateway, team, provider):
    document = gemini_chunk('{"city":"Bern"}', gemini_chunks()[-1]["usageMetadata"], "STOP")
    provider.will(whole(document))
    config = types.GenerateContentConfig(
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
        thinking_config=types.ThinkingConfig(thinking_budget=512),
    )

    def call():
        picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
        with client_of(gateway, team) as client:
            return client.models.generate_content(
                model=GEMINI, contents=[picture, "Which city?"], config=config
            )

    assert (await asyncio.to_thread(call)).parsed == {"city": "Bern"}
    sent = provider.requests[0].document
    # Google takes both spellings, and its SDK writes both.
    assert list(sent["generationConfig"]["thinkingConfig"].values()) == [512]
    assert "image/png" in str(sent["contents"][0]["parts"][0])


async def test_a_blocked_prompt_costs_its_input(gateway, team, provider):
    usage = {"promptTokenCount": 100, "totalTokenCount": 100}
    provider.will(
        whole(
            {
                "promptFeedback": {"blockReason": "SAFETY"},
                "usageMetadata": usage,
                "modelVersion": GEMINI,
            }
        )
    )
    answer = await ask(gateway, team)
    assert answer.prompt_feedback.block_reason == types.BlockedReason.SAFETY
    assert float((await gateway.entry(team))["amount_usd"]) >= 100 * 0.30 / 1e6


async def test_a_spent_budget_is_a_403_that_the_sdk_does_not_retry(gateway, provider):
    """Google's SDK retries every 429 where retries are on; a spent budget does not pass by that."""
    team = await gateway.make_team("0.15")
    await gateway.spend(team, "0.15")
    provider.reset()
    options = types.HttpOptions(
        base_url=gateway.url, retry_options=types.HttpRetryOptions(attempts=4, initial_delay=0.01)
    )
    seen = SimpleNamespace(answers=0)

    def call():
        with genai.Client(api_key=team.key, http_options=options) as client:
            http = client._api_client._httpx_client
            http.event_hooks["response"].append(
                lambda _answer: setattr(seen, "answers", seen.answers + 1)
            )
            return client.models.generate_content(model=GEMINI, contents="Grüezi")

    with pytest.raises(errors.ClientError) as caught:
        await asyncio.to_thread(call)
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")
    assert "has spent $0.15 of its $0.15 cap" in caught.value.message
    assert seen.answers == 1
    assert provider.requests == []
    answer = await gateway.post(TARGET, gemini_request(), team)
    assert answer.header("x-posthog-budget") == "exceeded"
    assert answer.header("x-should-retry") == "false"
    assert int(answer.header("retry-after")) > 0
    (detail,) = answer.document["error"]["details"]
    assert detail["reason"] == "BUDGET_EXCEEDED"
    assert detail["metadata"]["team"] == team.name


@pytest.mark.parametrize("key", ["gw_not-a-key", ""])
async def test_a_key_that_is_none_is_401_in_googles_shape(gateway, provider, key):
    headers = [("x-goog-api-key", key), ("content-type", "application/json")]
    answer = await gateway.post(TARGET, gemini_request(), None, headers)
    assert answer.status == 401
    error = answer.document["error"]
    assert (error["code"], error["status"]) == (401, "UNAUTHENTICATED")
    assert provider.requests == []


async def test_a_providers_error_is_the_sdks_own_exception(gateway, team, provider):
    error = {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}
    provider.will(saying({"error": error}, 429))
    with pytest.raises(errors.ClientError) as caught:
        await ask(gateway, team)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    entry = await gateway.entry(team)
    assert (entry["http_status"], entry["amount_usd"]) == (429, 0)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"generationConfig": {"maxOutputTokens": "9"}}']
)
async def test_a_bad_body_is_refused_in_googles_shape(gateway, team, provider, body):
    answer = await gateway.post(TARGET, body, team)
    assert answer.status == 400
    assert answer.document["error"]["status"] == "INVALID_ARGUMENT"
    assert provider.requests == []


async def test_the_key_in_the_query_is_refused_and_not_echoed(gateway, team, provider):
    answer = await gateway.post(f"{TARGET}?key={team.key}", gemini_request())
    assert answer.status in {400, 401}
    assert team.key.encode() not in answer.body
    assert provider.requests == []


@pytest.mark.parametrize("alt", ["proto", "media", "SSE", ""])
async def test_a_form_of_answer_that_cannot_be_metered_is_refused(gateway, team, provider, alt):
    answer = await gateway.post(f"{STREAM_TARGET}?alt={alt}", gemini_request(), team)
    assert answer.status == 400
    assert provider.requests == []


async def test_a_cut_stream_is_an_estimate_and_looks_broken(gateway, team, provider):
    events = [b"data: %b\r\n\r\n" % compact(chunk) for chunk in gemini_chunks()]
    answer = streamed(*events, content_type="text/event-stream")
    provider.will(type(answer)(**{**vars(answer), "cut_after_bytes": len(events[0]) + 5}))
    heard = await gateway.post(f"{STREAM_TARGET}?alt=sse", gemini_request(), team)
    assert not heard.is_whole
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    # The counts of the first chunk at least: 800 x 0.30 + 200 x 0.03 + 34 x 2.50 millionths.
    assert float(entry["amount_usd"]) >= 0.000331


async def test_a_cut_array_is_an_estimate_too(gateway, team, provider):
    answer = GENERATION_ARRAY.answer
    provider.will(type(answer)(**{**vars(answer), "cut_after_bytes": len(answer.pieces[0]) + 5}))
    heard = await gateway.post(STREAM_TARGET, gemini_request(), team)
    assert not heard.is_whole
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert float(entry["amount_usd"]) >= 0.000331


async def test_a_stream_that_ends_with_its_connection_is_whole_where_it_says_why_it_stopped(
    gateway, team, provider
):
    provider.will(replace(GENERATION_STREAM.answer, framing="close"))
    target = f"{STREAM_TARGET}?alt=sse"
    answer = await gateway.post(target, gemini_request(), team)
    assert answer.is_whole
    assert answer.body == GENERATION_STREAM.answer.body
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == GENERATION.amount_usd
    assert entry["usage_source"] == "exact"
