"""Header policy towards and from providers: allow-lists both ways, never deny-lists."""

from collections.abc import Iterable
from functools import lru_cache

from gateway.domain.errors import InvalidRequestError

# What providers and their SDKs need; whatever else a client sends stays here. Credentials, cookies,
# hop-by-hop headers, forwarding claims and organisation selectors are not on it.
_UP = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "content-type",
        "idempotency-key",
        "openai-beta",
        "user-agent",
        "x-app",
        "x-goog-api-client",
    }
)
_UP_PREFIXES = ("x-stainless-", "x-amzn-bedrock-")
_DOWN = frozenset(
    {
        "content-encoding",
        "content-language",
        "content-type",
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "x-amzn-errortype",
        "x-amzn-requestid",
        "x-request-id",
        "x-should-retry",
    }
)
_NAMES_MAX = 4096
_DOWN_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-", "x-amzn-bedrock-")


def upstream_headers(
    client_headers: Iterable[tuple[str, str]], credential: tuple[str, str] | None
) -> list[tuple[str, str]]:
    """Headers of the request to the provider.

    The body is asked for unencoded: the meter reads it, and the client is promised its bytes.

    Raises:
        InvalidRequestError: a value that is not visible ASCII.
    """
    headers = [item for item in client_headers if _goes_up(item[0])]
    for name, value in headers:
        if not (value.isascii() and value.isprintable()):
            raise InvalidRequestError(f"The value of header {name} is not visible ASCII.")
    headers.append(("Accept-Encoding", "identity"))
    if credential is not None:
        headers.append(credential)
    return headers


def downstream_headers(provider_headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers of the provider's answer that reach the client; framing is not among them."""
    return [item for item in provider_headers if _goes_down(item[0])]


@lru_cache(_NAMES_MAX)
def _goes_up(name: str) -> bool:
    lower = name.lower()
    return lower in _UP or lower.startswith(_UP_PREFIXES)


@lru_cache(_NAMES_MAX)
def _goes_down(name: str) -> bool:
    lower = name.lower()
    return lower in _DOWN or lower.startswith(_DOWN_PREFIXES)
