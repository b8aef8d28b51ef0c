"""Bedrock's own API through boto3: endpoint and key changed; requests signed by the gateway."""

import asyncio
import json
from contextlib import closing, contextmanager
from dataclasses import replace

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, assert_signed, aws_environment
from tests.fakes.dialects import (
    BEDROCK_AMOUNT,
    BEDROCK_SONNET,
    CONVERSE,
    CONVERSE_STREAM,
    EVENT_STREAM_TYPE,
    EVERY_PROVIDER,
    INVOKE,
    INVOKE_STREAM,
    TEXT,
    converse_body,
    converse_frames,
    encoded,
    failure,
    streamed,
    whole,
)
from tests.fakes.provider import saying
from tests.fakes.tls import tls_front

MESSAGES = [{"role": "user", "content": [{"text": "Grüezi"}]}]
INVOKE_BODY = INVOKE.request
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123"


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    with aws_environment():
        yield make_gateway(**EVERY_PROVIDER)


@contextmanager
def client_of(gateway, team, product=""):
    """The key stands where AWS's access key id does; the secret may be anything."""
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=gateway.url + product,
        aws_access_key_id=team.key,
        aws_secret_access_key="anything",
        config=Config(retries={"mode": "standard", "max_attempts": 3}),
    )
    try:
        yield client
    finally:
        client.close()


async def converse(gateway, team, product="", **changes):
    def call():
        with client_of(gateway, team, product) as client:
            return client.converse(**{"modelId": BEDROCK_SONNET, "messages": MESSAGES, **changes})

    return await asyncio.to_thread(call)


async def test_a_conversation_is_answered_and_the_request_is_signed(gateway, team, provider):
    provider.will(CONVERSE.answer)
    answer = await converse(gateway, team, "/slack_app")
    assert answer["output"]["message"]["content"] == [{"text": TEXT}]
    assert answer["usage"]["cacheReadInputTokens"] == 1000
    (sent,) = provider.requests
    assert sent.path == "/bedrock/model/global.anthropic.claude-sonnet-4-6/converse"
    assert sent.document == {"messages": MESSAGES}
    assert_signed(sent, provider.url)
    assert team.key not in str(sent.headers)
    assert SECRET_KEY not in str(sent.headers)
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == BEDROCK_AMOUNT
    assert (entry["provider"], entry["dialect"]) == ("bedrock", "bedrock")
    assert entry["product"] == "slack_app"


async def test_a_conversation_streams_frame_by_frame(gateway, team, provider):
    provider.will(CONVERSE_STREAM.answer)

    def call():
        with client_of(gateway, team) as client:
            answer = client.converse_stream(modelId=BEDROCK_SONNET, messages=MESSAGES)
            with closing(answer["stream"]) as stream:
                return list(stream)

    events = await asyncio.to_thread(call)
    deltas = [
        event["contentBlockDelta"]["delta"]["text"]
        for event in events
        if "contentBlockDelta" in event
    ]
    assert "".join(deltas) == TEXT
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 20
    assert_signed(provider.requests[0], provider.url)
    assert (await gateway.entry(team))["amount_usd"] == BEDROCK_AMOUNT


async def test_a_model_is_invoked(gateway, team, provider):
    provider.will(INVOKE.answer)

    def call():
        with client_of(gateway, team) as client:
            answer = client.invoke_model(modelId=BEDROCK_SONNET, body=INVOKE_BODY)
            return json.loads(answer["body"].read())

    assert (await asyncio.to_thread(call))["content"] == [{"type": "text", "text": TEXT}]
    assert provider.requests[0].body == INVOKE_BODY
    assert (await gateway.entry(team))["amount_usd"] == BEDROCK_AMOUNT


async def test_a_model_is_invoked_with_a_stream(gateway, team, provider):
    provider.will(INVOKE_STREAM.answer)

    def call():
        with client_of(gateway, team) as client:
            answer = client.invoke_model_with_response_stream(
                modelId=BEDROCK_SONNET, body=INVOKE_BODY, contentType="application/json"
            )
            with closing(answer["body"]) as stream:
                return [json.loads(event["chunk"]["bytes"]) for event in stream]

    events = await asyncio.to_thread(call)
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    assert (await gateway.entry(team))["amount_usd"] == BEDROCK_AMOUNT


async def test_the_metrics_in_the_headers_are_what_aws_bills_by(gateway, team, provider):
    provider.will(
        whole(
            {"generation": TEXT},
            ("x-amzn-bedrock-input-token-count", "400"),
            ("x-amzn-bedrock-output-token-count", "20"),
        )
    )

    def call():
        with client_of(gateway, team) as client:
            answer = client.invoke_model(modelId=BEDROCK_SONNET, body=b'{"prompt":"x"}')
            with closing(answer["body"]):
                return answer["ResponseMetadata"]["HTTPHeaders"]

    headers = await asyncio.to_thread(call)
    assert headers["x-amzn-bedrock-output-token-count"] == "20"
    entry = await gateway.entry(team)
    assert (entry["input_uncached_tokens"], entry["output_tokens"]) == (400, 20)
    assert float(entry["amount_usd"]) == pytest.approx((400 * 3 + 20 * 15) / 1e6)


async def test_tools_and_images_go_up(gateway, team, provider):
    use = {"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {"city": "Zürich"}}}
    document = converse_body()
    document["output"]["message"]["content"] = [use]
    provider.will(whole(document | {"stopReason": "tool_use"}))
    schema = {"json": {"type": "object", "properties": {"city": {"type": "string"}}}}
    tools = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": schema}}]}
    picture = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
    answer = await converse(
        gateway,
        team,
        messages=[{"role": "user", "content": [picture]}],
        toolConfig=tools,
        additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}},
    )
    assert answer["output"]["message"]["content"] == [use]
    sent = provider.requests[0].document
    assert sent["toolConfig"] == tools
    assert sent["messages"][0]["content"][0]["image"]["source"]["bytes"] == "iVBORw=="


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
        ),
        (PROFILE, PROFILE.replace(":", "%3A").replace("/", "%2F")),
        ("bedrock/amazon.nova-lite-v1:0", "amazon.nova-lite-v1%3A0"),
    ],
)
async def test_any_model_id_reaches_aws_escaped_and_signed(gateway, team, provider, model, path):
    provider.will(CONVERSE.answer)
    await converse(gateway, team, modelId=model)
    (sent,) = provider.requests
    assert sent.path == f"/bedrock/model/{path}/converse"
    assert_signed(sent, provider.url)


async def test_a_regional_profile_costs_a_tenth_more(gateway, team, provider):
    provider.will(CONVERSE.answer)
    await converse(gateway, team, modelId="us.anthropic.claude-sonnet-4-6")
    assert (await gateway.entry(team))["amount_usd"] == BEDROCK_AMOUNT * 11 / 10


async def test_a_spent_budget_is_a_quota_that_boto3_does_not_retry(gateway, provider):
    team = await gateway.make_team("0.15")
    await gateway.spend(team, "0.15")
    provider.reset()
    with pytest.raises(ClientError) as caught:
        await converse(gateway, team)
    response = caught.value.response
    assert response["Error"]["Code"] == "ServiceQuotaExceededException"
    assert "has spent $0.15 of its $0.15 cap" in response["Error"]["Message"]
    metadata = response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 400
    assert metadata["RetryAttempts"] == 0
    assert metadata["HTTPHeaders"]["x-posthog-budget"] == "exceeded"
    assert provider.requests == []


async def test_a_key_that_is_none_is_401_in_awss_shape(gateway, team, provider):
    def call():
        stranger = replace(team, key=ACCESS_KEY)
        with client_of(gateway, stranger) as client:
            return client.converse(modelId=BEDROCK_SONNET, messages=MESSAGES)

    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(call)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
    assert provider.requests == []


async def test_a_providers_error_is_boto3s_own_exception(gateway, team, provider):
    told = saying({"message": "Malformed."}, 400)
    provider.will(told.with_headers(("x-amzn-errortype", "ValidationException")))
    with pytest.raises(ClientError) as caught:
        await converse(gateway, team)
    assert caught.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "Malformed.",
    }
    entry = await gateway.entry(team)
    assert (entry["http_status"], entry["amount_usd"]) == (400, 0)


async def test_a_throttled_call_is_retried_by_boto3_and_booked_once_for_money(
    gateway, team, provider
):
    throttled = saying({"message": "Slow down."}, 429)
    provider.will(
        throttled.with_headers(("x-amzn-errortype", "ThrottlingException")), CONVERSE.answer
    )
    answer = await converse(gateway, team)
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
    refused, answered = await gateway.entries(team, 2)
    assert (refused["http_status"], refused["amount_usd"]) == (429, 0)
    assert answered["amount_usd"] == BEDROCK_AMOUNT


async def test_an_exception_in_the_stream_is_boto3s_own_and_is_paid_for(gateway, team, provider):
    frames = [*converse_frames()[:3], failure("modelStreamErrorException", "It broke.")]
    provider.will(streamed(*frames, content_type=EVENT_STREAM_TYPE))

    def call():
        with client_of(gateway, team) as client:
            answer = client.converse_stream(modelId=BEDROCK_SONNET, messages=MESSAGES)
            with closing(answer["stream"]) as stream:
                return list(stream)

    with pytest.raises(EventStreamError, match="It broke"):
        await asyncio.to_thread(call)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"inferenceConfig": {"maxTokens": "64"}}'])
async def test_a_bad_body_is_refused_in_awss_shape(gateway, team, provider, body):
    answer = await gateway.post(CONVERSE.target, body, team)
    assert answer.status == 400
    assert answer.header("x-amzn-errortype") == "ValidationException"
    assert set(answer.document) == {"message"}
    assert provider.requests == []


async def test_over_tls_a_bearer_token_is_the_key(gateway, team, provider, tmp_path):
    """boto3 sends one over TLS alone: AWS_BEARER_TOKEN_BEDROCK."""
    # The gateway of this process must have found its own credentials before ours are set.
    provider.will(CONVERSE.answer)
    await gateway.post(CONVERSE.target, CONVERSE.request, await gateway.make_team())
    provider.will(CONVERSE.answer)

    def call(url, bundle):
        with aws_environment(AWS_BEARER_TOKEN_BEDROCK=team.key, AWS_ACCESS_KEY_ID=""):
            client = boto3.client(
                "bedrock-runtime", region_name="us-east-1", endpoint_url=url, verify=str(bundle)
            )
            try:
                return client.converse(modelId=BEDROCK_SONNET, messages=MESSAGES)
            finally:
                client.close()

    async with tls_front(gateway.url, tmp_path) as (url, bundle):
        answer = await asyncio.to_thread(call, url, bundle)
    assert answer["stopReason"] == "end_turn"
    assert_signed(provider.requests[1], provider.url)


async def test_a_bearer_token_of_the_gateways_own_goes_up_instead_of_a_signature(make_gateway):
    with aws_environment(AWS_BEARER_TOKEN_BEDROCK="token-of-the-gateway"):
        gateway = make_gateway(**EVERY_PROVIDER)
        team = await gateway.make_team()
        gateway.provider.will(CONVERSE.answer)
        answer = await gateway.post(CONVERSE.target, encoded({"messages": MESSAGES}), team)
    assert answer.status == 200
    assert gateway.provider.requests[0].header("authorization") == "Bearer token-of-the-gateway"


async def test_without_any_aws_credentials_bedrock_is_503_and_says_how(make_gateway):
    with aws_environment(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""):
        gateway = make_gateway(**EVERY_PROVIDER)
        team = await gateway.make_team()
        answer = await gateway.post(CONVERSE.target, encoded({"messages": MESSAGES}), team)
    assert answer.status == 503
    assert answer.header("x-should-retry") == "false"
    assert "AWS_ACCESS_KEY_ID" in answer.document["message"]
    assert gateway.provider.requests == []
    assert await gateway.settled_count(team) == 0


async def test_without_a_region_bedrock_is_503_and_names_the_setting(make_gateway):
    gateway = make_gateway()
    team = await gateway.make_team()
    answer = await gateway.post(CONVERSE.target, encoded({"messages": MESSAGES}), team)
    assert answer.status == 503
    assert answer.header("x-should-retry") == "false"
    assert "GATEWAY_BEDROCK_REGION" in answer.document["message"]
