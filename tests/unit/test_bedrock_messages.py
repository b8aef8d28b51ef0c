import json

import pytest

from gateway.wire.bedrock_messages import (
    BedrockErrorToAnthropic,
    BedrockToSse,
    bedrock_model,
    names_bedrock,
    to_bedrock,
)
from tests.fakes.dialects import (
    as_events,
    converse_frames,
    failure,
    frame,
    invoke_documents,
    invoke_frames,
)


@pytest.mark.parametrize(
    ("model", "region", "name"),
    [
        ("claude-sonnet-4-6", "eu-west-1", "global.anthropic.claude-sonnet-4-6"),
        ("claude-opus-4-6", None, "global.anthropic.claude-opus-4-6-v1"),
        ("claude-sonnet-4-5", None, "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("claude-haiku-4-5-20251001", None, "global.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("claude-opus-4-1", "eu-west-1", "eu.anthropic.claude-opus-4-1-20250805-v1:0"),
        ("claude-opus-4-1", "ap-south-1", "apac.anthropic.claude-opus-4-1-20250805-v1:0"),
        ("claude-3-5-haiku-latest", None, "us.anthropic.claude-3-5-haiku-20241022-v1:0"),
        ("bedrock/claude-sonnet-4-6", None, "global.anthropic.claude-sonnet-4-6"),
        ("us.anthropic.claude-x-v1:0", "eu-west-1", "us.anthropic.claude-x-v1:0"),
        ("arn:aws:bedrock:x", None, "arn:aws:bedrock:x"),
    ],
)
def test_models_get_the_name_of_a_profile(model: str, region: str | None, name: str) -> None:
    assert bedrock_model(model, region) == name


@pytest.mark.parametrize(
    "model",
    [
        "anthropic.claude-x",
        "us.anthropic.claude-x",
        "us-gov.anthropic.claude-x",
        "bedrock/anything",
        "arn:aws:bedrock:eu-west-1:1:inference-profile/x",
        "arn:aws-us-gov:bedrock:x",
    ],
)
def test_bedrocks_own_names_are_known(model: str) -> None:
    assert names_bedrock(model)


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "gpt-4o", "anthropic/claude", "arn:aws:s3"])
def test_other_names_are_not_bedrocks(model: str) -> None:
    assert not names_bedrock(model)


def test_a_body_keeps_the_bytes_of_what_stays() -> None:
    body = b'{ "model" : "m", "a\\u0062": 1.50 ,"stream":true, "x": {"model": "kept"} }'

    sent = to_bedrock(body, "")

    assert sent == (
        b'{"a\\u0062":1.50,"x":{"model": "kept"},"anthropic_version":"bedrock-2023-05-31"}'
    )


def test_what_the_client_says_of_versions_and_betas_stays() -> None:
    body = b'{"model": "m", "anthropic_version": "own", "anthropic_beta": ["own"]}'

    assert json.loads(to_bedrock(body, "other")) == {
        "anthropic_version": "own",
        "anthropic_beta": ["own"],
    }


def test_betas_of_the_header_are_a_list() -> None:
    assert json.loads(to_bedrock(b"{}", " a, b,,"))["anthropic_beta"] == ["a", "b"]


@pytest.mark.parametrize("size", [1, 2, 13, 500, 100_000])
def test_frames_become_events_under_any_split(size: int) -> None:
    frames = b"".join(invoke_frames())
    translated = BedrockToSse()

    pieces = [translated.feed(frames[at : at + size]) for at in range(0, len(frames), size)]

    assert b"".join(pieces) + translated.finish() == as_events(invoke_documents())


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("throttlingException", "rate_limit_error"),
        ("validationException", "invalid_request_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelTimeoutException", "timeout_error"),
        ("internalServerException", "api_error"),
        ("a-new-one", "api_error"),
    ],
)
def test_an_exception_is_an_error_event(kind: str, type_: str) -> None:
    event = BedrockToSse().feed(failure(kind, "As told."))

    head, _, data = event.partition(b"\ndata: ")
    assert head == b"event: error"
    assert json.loads(data) == {"type": "error", "error": {"type": type_, "message": "As told."}}


@pytest.mark.parametrize(
    "odd",
    [
        b"".join(converse_frames()),
        frame("chunk", {"bytes": "%%%"}),
        frame("chunk", {"bytes": "e30="}),
        frame("chunk", {"bytes": "eyJ0eXBlIjogImEgYlxuIn0="}),
        b"no frame at all, whatever its length says",
        b"",
    ],
)
def test_what_is_no_event_of_anthropics_says_nothing(odd: bytes) -> None:
    assert BedrockToSse().feed(odd) == b""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message": "As told."}', "As told."),
        (b'{"Message": "As told."}', "As told."),
        (b"<html>", "Bedrock answered 429."),
        (b"[]", "Bedrock answered 429."),
        (b'{"message": 5}', "Bedrock answered 429."),
        (b"", "Bedrock answered 429."),
        (b"x" * 10_000_000, "Bedrock answered 429."),
    ],
)
def test_an_error_body_gets_anthropics_shape(body: bytes, message: str) -> None:
    translated = BedrockErrorToAnthropic(429)

    assert translated.feed(body[:5]) == translated.feed(body[5:]) == b""
    assert json.loads(translated.finish()) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": message},
    }
