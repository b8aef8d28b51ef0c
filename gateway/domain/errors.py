"""Every error that the gateway itself answers with; `edge/error_bodies.py` turns one into JSON.

GatewayError                          status, code, retryable, safe message
├── RequestError                      the caller can fix it (4xx)
│   ├── InvalidRequestError      400  ├── AuthenticationError      401
│   ├── PermissionDeniedError    403  ├── NotFoundError            404
│   ├── RequestTimeoutError      408  ├── RequestTooLargeError     413
│   ├── UnsupportedMediaError    415  ├── BudgetExceededError      429
│   ├── ExpectationFailedError   417  └── ClientLeftEarlyError     499
├── UpstreamError                     the provider or the line to it
│   ├── UpstreamUnreachableError 502  ├── UpstreamProtocolError    502
│   ├── UpstreamTimeoutError     504  ├── UpstreamCutError         502
│   └── ProviderNotConfiguredError 503
├── LedgerUnavailableError       503  we cannot know or record something that we must
├── OverloadedError              503  we have no room for what the client sends
└── ConfigError                       start-up only; lists every problem at once
"""

from gateway.domain.budget import Admission


class GatewayError(Exception):
    """The gateway could not answer this request."""

    status = 500
    code = "internal_error"
    is_retryable = False
    retry_after_s: int | None = None

    def __init__(self, message: str | None = None) -> None:
        """The message is safe to show; without one the docstring's first line is it."""
        doc = type(self).__doc__ or ""
        self.message = message or doc.strip().splitlines()[0]
        super().__init__(self.message)


class RequestError(GatewayError):
    """The request cannot be served as it is."""

    status = 400
    code = "invalid_request"


class InvalidRequestError(RequestError):
    """The request is not valid."""


class AuthenticationError(RequestError):
    """Missing or invalid gateway key: send it as `Authorization: Bearer gw_...` or `x-api-key`."""

    status = 401
    code = "invalid_api_key"


class PermissionDeniedError(RequestError):
    """This key may not do that."""

    status = 403
    code = "permission_denied"


class NotFoundError(RequestError):
    """There is no such route or product on this gateway."""

    status = 404
    code = "not_found"

    def __init__(self, message: str | None = None, *, methods: tuple[str, ...] = ()) -> None:
        """`methods` are those that do find something under the same path."""
        super().__init__(message)
        self.methods = methods


class RequestTooLargeError(RequestError):
    """The request body is larger than this gateway takes (GATEWAY_BODY_MAX_BYTES)."""

    status = 413
    code = "request_too_large"


class ClientLeftEarlyError(RequestError):
    """The client closed its connection before the request went upstream."""

    status = 499
    code = "client_closed_request"


class RequestTimeoutError(RequestError):
    """The request body did not arrive in time."""

    status = 408
    code = "request_timeout"
    is_retryable = True


class UnsupportedMediaError(RequestError):
    """The request body must be uncompressed JSON."""

    status = 415
    code = "unsupported_media_type"


class ExpectationFailedError(RequestError):
    """This gateway meets no expectation but `Expect: 100-continue`."""

    status = 417
    code = "expectation_failed"


class BudgetExceededError(RequestError):
    """The team has spent its monthly cap."""

    status = 429
    code = "budget_exceeded"

    def __init__(
        self, message: str, *, team: str, admission: Admission, retry_after_s: int
    ) -> None:
        super().__init__(message)
        self.team = team
        self.admission = admission
        self.retry_after_s = retry_after_s
        self.is_retryable = admission.is_held_back


class UpstreamError(GatewayError):
    """The provider could not be asked."""

    status = 502
    code = "upstream_error"
    is_retryable = True


class UpstreamUnreachableError(UpstreamError):
    """The provider could not be reached."""

    code = "upstream_unreachable"


class UpstreamProtocolError(UpstreamError):
    """The provider's answer was not one that can be relayed."""

    code = "upstream_protocol_error"


class UpstreamCutError(UpstreamError):
    """The connection to the provider broke before its answer was whole."""

    code = "upstream_cut"


class UpstreamTimeoutError(UpstreamError):
    """The provider did not answer in time."""

    status = 504
    code = "upstream_timeout"


class ProviderNotConfiguredError(UpstreamError):
    """No credential is configured for this provider."""

    status = 503
    code = "provider_not_configured"
    is_retryable = False


class LedgerUnavailableError(GatewayError):
    """The gateway cannot check this key right now; try again shortly."""

    status = 503
    code = "ledger_unavailable"
    is_retryable = True


class OverloadedError(GatewayError):
    """Too many large request bodies are arriving at once; try again shortly."""

    status = 503
    code = "overloaded"
    is_retryable = True
    retry_after_s = 1


class ConfigError(Exception):
    """The configuration is not usable; lists every problem at once."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class ClientGoneError(Exception):
    """The client's connection is closed: nothing more can be said to it."""
