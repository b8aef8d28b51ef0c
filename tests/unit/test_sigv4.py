import asyncio

import pytest

from gateway.domain.errors import ProviderNotConfiguredError
from gateway.upstream.sigv4 import BedrockSigner
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, assert_signed, aws_environment
from tests.fakes.provider import Received

URL = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/a%3A0/invoke"
HOST = "bedrock-runtime.eu-central-1.amazonaws.com"
HEADERS = [("Content-Type", "application/json"), ("Accept-Encoding", "identity")]


async def signed(signer: BedrockSigner, body: bytes = b"{}") -> Received:
    headers = await signer.sign(URL, HEADERS, body)
    assert headers[:2] == HEADERS
    return Received(
        method="POST",
        path="/model/a%3A0/invoke",
        query={},
        headers=[("host", HOST), *headers],
        body=body,
        at_s=0,
    )


@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_a_body_of_any_size_is_signed_as_aws_does(size: int) -> None:
    with aws_environment():
        request = await signed(BedrockSigner("eu-central-1"), b"x" * size)

    assert_signed(request, URL)
    assert SECRET_KEY not in str(request.headers)


async def test_a_changed_byte_is_another_signature() -> None:
    with aws_environment():
        request = await signed(BedrockSigner("eu-central-1"), b"{}")
    request.body = b"{ }"

    with pytest.raises(AssertionError):
        assert_signed(request, URL)


async def test_a_session_token_goes_along() -> None:
    with aws_environment(AWS_SESSION_TOKEN="token-of-a-role"):
        request = await signed(BedrockSigner("eu-central-1"))

    assert request.header("x-amz-security-token") == "token-of-a-role"
    assert_signed(request, URL)


async def test_the_region_is_the_settings_else_the_chains_else_a_default() -> None:
    with aws_environment(AWS_DEFAULT_REGION="ap-south-1"):
        assert_signed(await signed(BedrockSigner(None)), URL, "ap-south-1")
        assert_signed(await signed(BedrockSigner("eu-central-1")), URL, "eu-central-1")
    with aws_environment(AWS_DEFAULT_REGION=""):
        assert_signed(await signed(BedrockSigner(None)), URL, "us-east-1")


async def test_a_bearer_token_of_bedrock_stands_instead_of_a_signature() -> None:
    with aws_environment(AWS_BEARER_TOKEN_BEDROCK="token"):
        request = await signed(BedrockSigner("eu-central-1"))

    assert request.header("authorization") == "Bearer token"
    assert request.header("x-amz-date") is None
    assert ACCESS_KEY not in str(request.headers)


async def test_a_bearer_token_alone_is_enough() -> None:
    with aws_environment(
        AWS_BEARER_TOKEN_BEDROCK="token", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""
    ):
        request = await signed(BedrockSigner("eu-central-1"))

    assert request.header("authorization") == "Bearer token"


async def test_an_empty_chain_says_what_to_set() -> None:
    with (
        aws_environment(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""),
        pytest.raises(ProviderNotConfiguredError, match="AWS_ACCESS_KEY_ID"),
    ):
        await signed(BedrockSigner("eu-central-1"))


async def test_many_at_once_look_through_the_chain_once() -> None:
    with aws_environment():
        signer = BedrockSigner("eu-central-1")
        requests = await asyncio.gather(*(signed(signer) for _ in range(20)))

    for request in requests:
        assert_signed(request, URL)
