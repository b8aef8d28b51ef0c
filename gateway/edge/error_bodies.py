"""Gateway errors as JSON, in the caller's dialect; the only place that turns one into a body."""

from decimal import Decimal
from typing import Any

import orjson

from gateway.domain.clock import rfc3339
from gateway.domain.errors import BudgetExceededError, GatewayError, NotFoundError
from gateway.domain.money import cents
from gateway.domain.request import Dialect

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
}
_OPENAI_TYPES = {403: "permission_error", 502: "server_error", 503: "server_error"}
_OPENAI_TYPES[504] = "server_error"
_SERVER_ERROR_STATUS = 500


# Google's and AWS's SDKs retry every 429; a spent budget does not pass by that.
_SPENT_STATUS = {Dialect.GEMINI: 403, Dialect.BEDROCK: 400}
_GEMINI_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_BEDROCK_TYPES = {
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    502: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}


def error_status(error: GatewayError, dialect: Dialect | None) -> int:
    """The status of an answer that the gateway itself gives."""
    if isinstance(error, BudgetExceededError) and not error.is_retryable and dialect is not None:
        return _SPENT_STATUS.get(dialect, error.status)
    return error.status


def error_body(error: GatewayError, dialect: Dialect | None, request_id: str) -> bytes:
    """The body of an answer that the gateway itself gives."""
    match dialect:
        case Dialect.ANTHROPIC_MESSAGES:
            return orjson.dumps(_anthropic(error, request_id))
        case Dialect.GEMINI:
            return orjson.dumps(_gemini(error))
        case Dialect.BEDROCK:
            return orjson.dumps(_bedrock(error))
        case _:
            return orjson.dumps(_openai(error))


def error_headers(error: GatewayError, dialect: Dialect | None = None) -> list[tuple[str, str]]:
    """What tells an SDK whether, when and how to try again."""
    headers = [("x-should-retry", "true" if error.is_retryable else "false")]
    if dialect is Dialect.BEDROCK:
        headers.append(("x-amzn-ErrorType", _bedrock_type(error)))
    if error.retry_after_s is not None:
        headers.append(("Retry-After", str(error.retry_after_s)))
    if isinstance(error, NotFoundError) and error.methods:
        headers.append(("Allow", ", ".join(error.methods)))
    return headers


def _anthropic(error: GatewayError, request_id: str) -> dict[str, Any]:
    default = "api_error" if error.status >= _SERVER_ERROR_STATUS else "invalid_request_error"
    body: dict[str, Any] = {
        "type": _ANTHROPIC_TYPES.get(error.status, default),
        "message": error.message,
    }
    if isinstance(error, BudgetExceededError):
        body |= {"type": error.code} | _budget(error)
    return {"type": "error", "error": body, "request_id": request_id}


def _openai(error: GatewayError) -> dict[str, Any]:
    default = "server_error" if error.status >= _SERVER_ERROR_STATUS else "invalid_request_error"
    body: dict[str, Any] = {
        "message": error.message,
        "type": _OPENAI_TYPES.get(error.status, default),
        "param": None,
        "code": error.code,
    }
    if isinstance(error, BudgetExceededError):
        body |= {"type": error.code} | _budget(error)
    return {"error": body}


def _gemini(error: GatewayError) -> dict[str, Any]:
    """Source: Google's API error model, `google.rpc.Status` as JSON with `ErrorInfo` details."""
    status = error_status(error, Dialect.GEMINI)
    default = "INTERNAL" if status >= _SERVER_ERROR_STATUS else "INVALID_ARGUMENT"
    body: dict[str, Any] = {
        "code": status,
        "message": error.message,
        "status": _GEMINI_STATUSES.get(status, default),
    }
    if isinstance(error, BudgetExceededError):
        body["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": error.code.upper(),
                "domain": "gateway",
                "metadata": _budget(error),
            }
        ]
    return {"error": body}


def _bedrock(error: GatewayError) -> dict[str, Any]:
    """Source: Bedrock's API reference, errors of `InvokeModel`: a message, the type in a header."""
    body: dict[str, Any] = {"message": error.message}
    if isinstance(error, BudgetExceededError):
        body |= {"type": error.code} | _budget(error)
    return body


def _bedrock_type(error: GatewayError) -> str:
    if isinstance(error, BudgetExceededError) and not error.is_retryable:
        return "ServiceQuotaExceededException"
    is_ours = error.status >= _SERVER_ERROR_STATUS
    default = "InternalServerException" if is_ours else "ValidationException"
    return _BEDROCK_TYPES.get(error.status, default)


def _budget(error: BudgetExceededError) -> dict[str, str]:
    view = error.admission.view
    budget = {
        "team": error.team,
        "cap_usd": cents(view.cap_usd or Decimal(0)),
        "spend_usd": cents(view.spend_usd or Decimal(0)),
        "resets_at": rfc3339(view.resets_at),
    }
    if error.admission.is_held_back:
        budget["reason"] = "held"
    return budget
