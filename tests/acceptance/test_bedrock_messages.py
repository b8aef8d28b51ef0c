"""Anthropic Messages on Bedrock, by header, by model id, and as a fallback."""

import asyncio
import json
import socket

import anthropic
import pytest

from tests.fakes.aws import assert_signed, aws_environment
from tests.fakes.dialects import (
    BEDROCK_AMOUNT,
    EVENT_STREAM_TYPE,
    EVERY_PROVIDER,
    INVOKE,
    INVOKE_STREAM,
    TEXT,
    as_events,
    failure,
    invoke_documents,
    invoke_frames,
    streamed,
)
from tests.fakes.provider import Answer, playing, saying
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, SONNET
from tests.fixtures.gateway import messages_body

HELLO = [{"role": "user", "content": "Grüezi"}]
ON_BEDROCK = {"x-posthog-provider": "bedrock"}
WITH_FALLBACK = {"x-posthog-use-bedrock-fallback": "true"}
INVOKE_PATH = "/bedrock/model/global.anthropic.claude-sonnet-4-6/invoke"
STREAM_PATH = f"{INVOKE_PATH}-with-response-stream"
SHORT = ', "system": [{"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}]'
OUT_OF_CREDIT = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API.",
    },
}


def error(kind, message="As told."):
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    with aws_environment():
        yield make_gateway(**EVERY_PROVIDER)


def headers_of(team, **more):
    return [*team.headers, *more.items()]


async def ask(gateway, team, headers, *, extra="", stream=False, product="", model=SONNET):
    return await gateway.post(
        f"{product}/v1/messages",
        messages_body(extra, stream=stream, model=model),
        team,
        list(headers.items()),
    )


# By header.


async def test_a_message_comes_from_bedrock_through_an_unchanged_sdk(gateway, team, provider):
    provider.will(INVOKE.answer)
    async with gateway.anthropic(team, default_headers=ON_BEDROCK) as client:
        message = await client.messages.create(model=SONNET, max_tokens=64, messages=HELLO)
    assert message.content[0].text == TEXT
    assert message.usage.cache_read_input_tokens == 1000
    (sent,) = provider.requests
    assert sent.path == INVOKE_PATH
    assert_signed(sent, provider.url)
    assert sent.document == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 64,
        "messages": HELLO,
    }
    names = {name.lower() for name, _ in sent.headers}
    assert not names & {"x-api-key", "anthropic-version", "anthropic-beta", "x-posthog-provider"}
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == BEDROCK_AMOUNT
    assert (entry["provider"], entry["dialect"]) == ("bedrock", "anthropic.messages")
    assert entry["request_model"] == "global.anthropic.claude-sonnet-4-6"
    event = await gateway.event(entry["entry_id"])
    assert event["properties"]["$ai_provider"] == "bedrock"
    assert event["properties"]["$ai_total_cost_usd"] == pytest.approx(float(BEDROCK_AMOUNT))


async def test_a_stream_from_bedrock_is_anthropics_own(gateway, team, provider):
    provider.will(INVOKE_STREAM.answer)
    async with (
        gateway.anthropic(team, default_headers=ON_BEDROCK) as client,
        client.messages.stream(model=SONNET, max_tokens=64, messages=HELLO) as stream,
    ):
        words = [word async for word in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(words) == message.content[0].text == TEXT
    assert message.stop_reason == "end_turn"
    assert provider.requests[0].path == STREAM_PATH
    assert "stream" not in provider.requests[0].document
    entry = await gateway.entry(team)
    assert (entry["amount_usd"], entry["usage_source"]) == (BEDROCK_AMOUNT, "exact")


@pytest.mark.parametrize("size", [1, 3, 100, 10_000])
async def test_the_events_are_the_frames_contents_whatever_their_split(
    gateway, team, provider, size
):
    provider.will(INVOKE_STREAM.answer.in_pieces_of(size))
    answer = await ask(gateway, team, ON_BEDROCK, stream=True)
    assert answer.is_whole
    assert answer.header("content-type") == "text/event-stream"
    assert answer.body == as_events(invoke_documents())


async def test_every_byte_that_stays_is_the_clients(gateway, team, provider):
    body = (
        b'{ "model":"claude-sonnet-4-6", "messages":[{"role":"user","content":"a\\u00fc"}] ,\n'
        b' "stream" : false,"max_tokens":  64, "tools":[ ] }'
    )
    provider.will(INVOKE.answer)
    own = [*team.headers, ("x-posthog-provider", "bedrock")]
    await gateway.post("/v1/messages", body, None, own)
    sent = provider.requests[0].body
    for kept in (b'[{"role":"user","content":"a\\u00fc"}]', b"[ ]", b"64"):
        assert kept in sent
    assert set(json.loads(sent)) == {"messages", "max_tokens", "tools", "anthropic_version"}


async def test_betas_move_from_the_header_into_the_body(gateway, team, provider):
    provider.will(INVOKE.answer)
    headers = {**ON_BEDROCK, "anthropic-beta": "context-1m-2025-08-07, interleaved-thinking"}
    await ask(gateway, team, headers)
    (sent,) = provider.requests
    assert sent.document["anthropic_beta"] == ["context-1m-2025-08-07", "interleaved-thinking"]
    assert sent.header("anthropic-beta") is None


@pytest.mark.parametrize(
    ("model", "sent_as"),
    [
        ("claude-sonnet-4-5", "global.anthropic.claude-sonnet-4-5-20250929-v1%3A0"),
        ("claude-haiku-4-5-20251001", "global.anthropic.claude-haiku-4-5-20251001-v1%3A0"),
        ("claude-opus-4-1", "eu.anthropic.claude-opus-4-1-20250805-v1%3A0"),
        ("us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-sonnet-4-6"),
    ],
)
async def test_models_get_bedrocks_names(gateway, team, provider, model, sent_as):
    provider.will(INVOKE.answer)
    await ask(gateway, team, ON_BEDROCK, model=model)
    assert provider.requests[0].path == f"/bedrock/model/{sent_as}/invoke"
    assert_signed(provider.requests[0], provider.url)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_of_bedrock_has_anthropics_shape(
    gateway, team, provider, status, kind, stream
):
    provider.will(saying({"message": "As told."}, status).with_headers(("x-amzn-requestid", "r1")))
    answer = await ask(gateway, team, ON_BEDROCK, stream=stream)
    assert answer.status == status
    assert answer.is_whole
    assert answer.header("content-type") == "application/json"
    assert answer.header("x-amzn-requestid") == "r1"
    assert answer.document == error(kind)
    entry = await gateway.entry(team)
    assert (entry["http_status"], entry["amount_usd"]) == (status, 0)


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("throttlingException", "rate_limit_error"),
        ("modelStreamErrorException", "api_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelTimeoutException", "timeout_error"),
    ],
)
async def test_an_exception_in_the_middle_is_an_error_event_and_paid_for(
    gateway, team, provider, exception, kind
):
    frames = [*invoke_frames()[:4], failure(exception, "It broke.")]
    provider.will(streamed(*frames, content_type=EVENT_STREAM_TYPE))
    async with gateway.anthropic(team, default_headers=ON_BEDROCK, max_retries=0) as client:
        stream = await client.messages.create(
            model=SONNET, max_tokens=64, messages=HELLO, stream=True
        )
        with pytest.raises(anthropic.APIStatusError) as caught:
            await _exhaust(stream)
    assert caught.value.body == error(kind, "It broke.")
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["input_uncached_tokens"] == 400
    assert entry["amount_usd"] > 0


async def _exhaust(stream):
    async for _ in stream:
        pass


async def test_a_cut_between_frames_looks_broken(gateway, team, provider):
    body = INVOKE_STREAM.answer.body
    provider.will(
        streamed(body, content_type=EVENT_STREAM_TYPE),
    )
    provider.script[0] = Answer(
        **{**vars(provider.script[0]), "cut_after_bytes": len(b"".join(invoke_frames()[:4]))}
    )
    answer = await ask(gateway, team, ON_BEDROCK, stream=True)
    assert not answer.is_whole
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_tokens_are_counted_by_anthropic(gateway, team, provider):
    own = [*team.headers, *ON_BEDROCK.items()]
    answer = await gateway.post("/v1/messages/count_tokens", messages_body(), None, own)
    assert (answer.status, answer.document) == (200, {"input_tokens": 17})
    assert provider.requests[0].path == "/anthropic/v1/messages/count_tokens"


async def test_another_provider_in_the_header_is_refused(gateway, team, provider):
    answer = await ask(gateway, team, {"x-posthog-provider": "vertex"})
    assert answer.status == 400
    assert provider.requests == []


# Save Mode never upgrades towards Bedrock, whatever the path.


@pytest.mark.parametrize(
    ("headers", "model"),
    [
        (ON_BEDROCK, SONNET),
        ({}, "anthropic.claude-sonnet-4-6"),
        ({}, "us.anthropic.claude-sonnet-4-6"),
        ({}, "global.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ({}, "bedrock/claude-sonnet-4-6"),
        ({}, "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc"),
        (WITH_FALLBACK, "bedrock/us.anthropic.claude-sonnet-4-6"),
    ],
)
async def test_no_breakpoint_is_upgraded_towards_bedrock(gateway, team, provider, headers, model):
    provider.will(INVOKE.answer)
    answer = await ask(gateway, team, headers, extra=SHORT, product="/posthog_code", model=model)
    assert answer.status == 200, answer.body
    (sent,) = provider.requests
    assert sent.path.startswith("/bedrock/model/")
    assert b"ttl" not in sent.body
    assert b'"cache_control": {"type": "ephemeral"}' in sent.body
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["cache_ttl_upgraded"]) == ("bedrock", 0)


async def test_a_fallback_gets_the_breakpoints_that_the_client_wrote(gateway, team, provider):
    """The first try was upgraded; what goes to Bedrock is the client's own."""
    provider.will(saying(error("overloaded_error"), 529), INVOKE.answer)
    answer = await ask(gateway, team, WITH_FALLBACK, extra=SHORT, product="/posthog_code")
    assert answer.status == 200
    first, second = provider.requests
    assert first.path == "/anthropic/v1/messages"
    assert b'"ttl":"1h"' in first.body
    assert second.path == INVOKE_PATH
    assert b"ttl" not in second.body
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["cache_ttl_upgraded"]) == ("bedrock", 0)
    event = await gateway.event(entry["entry_id"])
    assert event["properties"]["save_mode"] is False


# As a fallback.


FAILURES = {
    "500": saying(error("api_error"), 500),
    "502": saying(b"<html>", 502),
    "503": saying(error("api_error"), 503),
    "429": saying(error("rate_limit_error"), 429),
    "529": saying(error("overloaded_error"), 529),
    "402": saying(error("billing_error"), 402),
    "400 for want of credit": saying(OUT_OF_CREDIT, 400),
    "400 billing_error": saying(error("billing_error"), 400),
    "403 billing_error": saying(error("billing_error"), 403),
    "400 for want of credit in pieces": saying(OUT_OF_CREDIT, 400, framing="chunked").in_pieces_of(
        9
    ),
}


async def test_what_failed_early_for_a_client_that_left_runs_nowhere_and_holds_nothing(
    gateway, provider
):
    team = await gateway.make_team("5.00")
    provider.will(saying(error("overloaded_error"), 529, head_delay_s=0.4))
    headers = [*team.headers, *WITH_FALLBACK.items()]
    async with gateway.connected() as connection:
        connection.send("POST", "/v1/messages", headers, messages_body())
        await provider.wait_for_requests(1)
        connection.leave()
    await gateway.wait_until_nothing_is_held(team)
    assert await gateway.settled_count(team) == 0
    assert len(provider.requests) == 1


@pytest.mark.parametrize("failed", FAILURES.values(), ids=FAILURES.keys())
@pytest.mark.parametrize("stream", [False, True])
async def test_what_failed_early_runs_on_bedrock(gateway, team, provider, failed, stream):
    provider.will(failed, (INVOKE_STREAM if stream else INVOKE).answer)
    answer = await ask(gateway, team, WITH_FALLBACK, stream=stream)
    assert answer.status == 200
    assert answer.is_whole
    if stream:
        assert answer.body == as_events(invoke_documents())
    else:
        assert answer.body == INVOKE.answer.body
    first, second = provider.requests
    assert first.path == "/anthropic/v1/messages"
    assert second.path == (STREAM_PATH if stream else INVOKE_PATH)
    assert_signed(second, provider.url)
    assert not {name.lower() for name, _ in second.headers} & {"x-api-key"}
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["amount_usd"]) == ("bedrock", BEDROCK_AMOUNT)
    assert entry["http_status"] == 200
    assert entry["request_model"] == "global.anthropic.claude-sonnet-4-6"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
    ],
)
async def test_what_the_client_did_wrong_is_told_as_it_came(gateway, team, provider, status, kind):
    told = json.dumps(error(kind), indent=3).encode()
    provider.will(saying(told, status))
    answer = await ask(gateway, team, WITH_FALLBACK)
    assert (answer.status, answer.body) == (status, told)
    assert answer.is_whole
    assert len(provider.requests) == 1
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["http_status"], entry["amount_usd"]) == (
        "anthropic",
        status,
        0,
    )


async def test_without_the_header_a_failure_is_the_clients_to_see(gateway, team, provider):
    provider.will(saying(error("overloaded_error"), 529))
    answer = await ask(gateway, team, {})
    assert answer.status == 529
    assert len(provider.requests) == 1


async def test_a_success_never_falls_back(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    answer = await ask(gateway, team, WITH_FALLBACK)
    assert answer.body == ANTHROPIC_TEXT.body
    assert (await gateway.entry(team))["amount_usd"] == ANTHROPIC_TEXT.amount_usd


async def test_nothing_falls_back_after_the_first_byte(gateway, team, provider):
    head = b"".join(ANTHROPIC_STREAM.events[:2])
    provider.will(playing(ANTHROPIC_STREAM, cut_after_bytes=len(head) + 1))
    answer = await ask(gateway, team, WITH_FALLBACK, stream=True)
    assert not answer.is_whole
    assert len(provider.requests) == 1
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["usage_source"]) == ("anthropic", "estimated")


async def test_an_error_event_in_a_stream_is_no_reason_to_fall_back(gateway, team, provider):
    broken = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'
    provider.will(streamed(*ANTHROPIC_STREAM.events[:2], broken))
    answer = await ask(gateway, team, WITH_FALLBACK, stream=True)
    assert answer.body.endswith(broken)
    assert len(provider.requests) == 1


async def test_where_both_fail_the_second_is_told_and_one_entry_made(gateway, team, provider):
    provider.will(saying(error("overloaded_error"), 529), saying({"message": "Slow down."}, 429))
    answer = await ask(gateway, team, WITH_FALLBACK)
    assert (answer.status, answer.document) == (429, error("rate_limit_error", "Slow down."))
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["http_status"], entry["amount_usd"]) == ("bedrock", 429, 0)


async def test_a_model_that_bedrock_does_not_sell_has_no_fallback(gateway, team, provider):
    provider.will(saying(error("overloaded_error"), 529))
    answer = await ask(gateway, team, WITH_FALLBACK, model="somebody-elses")
    assert answer.status == 529
    assert len(provider.requests) == 1


async def test_a_provider_that_cannot_be_reached_falls_back(make_gateway):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        settings = {
            **EVERY_PROVIDER,
            "GATEWAY_ANTHROPIC_BASE_URL": f"http://127.0.0.1:{unheard.getsockname()[1]}",
        }
        with aws_environment():
            gateway = make_gateway(**settings)
            team = await gateway.make_team("5.00")
            gateway.provider.will(INVOKE.answer)
            answer = await ask(gateway, team, WITH_FALLBACK)
    assert answer.status == 200, answer.body
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["amount_usd"]) == ("bedrock", BEDROCK_AMOUNT)
    await gateway.wait_until_nothing_is_held(team)


async def test_without_bedrock_the_header_changes_nothing(make_gateway):
    gateway = make_gateway()
    team = await gateway.make_team()
    gateway.provider.will(saying(error("overloaded_error"), 529))
    answer = await ask(gateway, team, WITH_FALLBACK)
    assert answer.status == 529
    answer = await ask(gateway, team, ON_BEDROCK)
    assert answer.status == 503
    assert "GATEWAY_BEDROCK_REGION" in answer.document["error"]["message"]


async def test_the_hold_covers_the_dearer_of_both(gateway, provider):
    """Where Bedrock is the dearer one, a call that may end there needs more of a strict cap."""
    await gateway.execute(
        "INSERT INTO ledger.price (provider, model, effective_from, input_usd_per_mtok, "
        "output_usd_per_mtok, source) VALUES ('bedrock', $1, now() - interval '1 day', 100, 500, 'test')",
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    )
    team = await gateway.make_team("0.10", enforcement="strict")
    async with asyncio.timeout(5):
        while True:
            provider.reset()
            answer = await ask(gateway, team, WITH_FALLBACK, model="claude-haiku-4-5")
            if answer.status == 429:
                break
            await asyncio.sleep(0.05)
    assert provider.requests == []
    answer = await ask(gateway, team, {}, model="claude-haiku-4-5")
    assert answer.status == 200
