import json
from typing import Any

import pytest

from gateway.domain.errors import (
    AuthenticationError,
    ExpectationFailedError,
    GatewayError,
    InvalidRequestError,
    LedgerUnavailableError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderNotConfiguredError,
    RequestTooLargeError,
    UnsupportedMediaError,
    UpstreamCutError,
    UpstreamTimeoutError,
)
from gateway.domain.request import Dialect
from gateway.edge.error_bodies import error_body, error_headers, error_status

ROWS: list[tuple[GatewayError, int, str, str, str, str]] = [
    # Error, status, Anthropic's type, OpenAI's, Google's status, AWS's exception.
    (
        InvalidRequestError("m"),
        400,
        "invalid_request_error",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "ValidationException",
    ),
    (
        ExpectationFailedError("m"),
        417,
        "invalid_request_error",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "ValidationException",
    ),
    (
        AuthenticationError("m"),
        401,
        "authentication_error",
        "invalid_request_error",
        "UNAUTHENTICATED",
        "AccessDeniedException",
    ),
    (
        PermissionDeniedError("m"),
        403,
        "permission_error",
        "permission_error",
        "PERMISSION_DENIED",
        "AccessDeniedException",
    ),
    (
        NotFoundError("m"),
        404,
        "not_found_error",
        "invalid_request_error",
        "NOT_FOUND",
        "ResourceNotFoundException",
    ),
    (
        RequestTooLargeError("m"),
        413,
        "request_too_large",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "ValidationException",
    ),
    (
        UnsupportedMediaError("m"),
        415,
        "invalid_request_error",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "ValidationException",
    ),
    (
        GatewayError("m"),
        500,
        "api_error",
        "server_error",
        "INTERNAL",
        "InternalServerException",
    ),
    (
        UpstreamCutError("m"),
        502,
        "api_error",
        "server_error",
        "UNAVAILABLE",
        "ServiceUnavailableException",
    ),
    (
        ProviderNotConfiguredError("m"),
        503,
        "api_error",
        "server_error",
        "UNAVAILABLE",
        "ServiceUnavailableException",
    ),
    (
        UpstreamTimeoutError("m"),
        504,
        "timeout_error",
        "server_error",
        "DEADLINE_EXCEEDED",
        "ModelTimeoutException",
    ),
]
each_row = pytest.mark.parametrize(
    ("error", "status", "anthropic", "openai", "google", "aws"),
    ROWS,
    ids=[type(row[0]).__name__ for row in ROWS],
)


def said(error: GatewayError, dialect: Dialect | None) -> dict[str, Any]:
    return json.loads(error_body(error, dialect, "id-1"))


@each_row
def test_an_error_has_the_shape_of_each_dialect(
    error: GatewayError, status: int, anthropic: str, openai: str, google: str, aws: str
) -> None:
    assert said(error, Dialect.ANTHROPIC_MESSAGES) == {
        "type": "error",
        "error": {"type": anthropic, "message": "m"},
        "request_id": "id-1",
    }
    for dialect in (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, None):
        assert said(error, dialect) == {
            "error": {"message": "m", "type": openai, "param": None, "code": error.code}
        }
    assert said(error, Dialect.GEMINI) == {
        "error": {"code": status, "message": "m", "status": google}
    }
    assert said(error, Dialect.BEDROCK) == {"message": "m"}
    assert ("x-amzn-ErrorType", aws) in error_headers(error, Dialect.BEDROCK)
    for dialect in Dialect:
        assert error_status(error, dialect) == status


@pytest.mark.parametrize(
    ("error", "retries"),
    [
        (UpstreamCutError(), "true"),
        (LedgerUnavailableError(), "true"),
        (ProviderNotConfiguredError(), "false"),
        (InvalidRequestError(), "false"),
    ],
)
def test_an_sdk_is_told_whether_to_try_again(error: GatewayError, retries: str) -> None:
    assert error_headers(error) == [("x-should-retry", retries)]


def test_a_wrong_method_is_told_which_there_are() -> None:
    error = NotFoundError("m", methods=("GET", "HEAD"))

    assert ("Allow", "GET, HEAD") in error_headers(error)


def test_an_sdk_is_told_when_to_try_again() -> None:
    headers = [("x-should-retry", "true"), ("Retry-After", "1")]
    assert error_headers(OverloadedError()) == headers
