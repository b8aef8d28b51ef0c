"""Which headers go to a provider and come back: those on a list, and nothing that is not plain."""

import pytest

from gateway.domain.errors import InvalidRequestError
from gateway.upstream.headers import downstream_headers, upstream_headers


def test_what_is_on_the_list_goes_up_in_order_and_the_providers_credential_last():
    sent = [
        ("Anthropic-Version", "2023-06-01"),
        ("X-Stainless-Lang", "python"),
        ("X-Amzn-Bedrock-Trace", "ENABLED"),
        ("content-type", "application/json"),
    ]
    assert upstream_headers(sent, ("x-api-key", "sk-provider")) == [
        *sent,
        ("Accept-Encoding", "identity"),
        ("x-api-key", "sk-provider"),
    ]
    assert upstream_headers(sent, None) == [*sent, ("Accept-Encoding", "identity")]


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "x-api-key", "x-goog-api-key", "api-key", "Cookie", "Host"),
        *("Accept-Encoding", "Connection", "Transfer-Encoding", "Content-Length", "Expect", "TE"),
        *("Forwarded", "X-Forwarded-For", "Via", "OpenAI-Organization", "OpenAI-Project"),
        *("X-PostHog-Distinct-Id", "x-amz-security-token", "x-stainless"),
    ],
)
def test_nothing_else_goes_up(name: str):
    assert upstream_headers([(name, "v")], None) == [("Accept-Encoding", "identity")]


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "\x00", "a\tb", "\x7f", "\xe9", "\udce9"])
def test_a_value_that_is_not_plain_is_refused_where_it_would_go_up(value: str):
    with pytest.raises(InvalidRequestError):
        upstream_headers([("User-Agent", value)], None)
    assert upstream_headers([("Cookie", value)], None) == [("Accept-Encoding", "identity")]


@pytest.mark.parametrize(
    ("name", "comes_down"),
    [
        ("Content-Type", True),
        ("Retry-After", True),
        ("anthropic-ratelimit-tokens-remaining", True),
        ("x-amzn-RequestId", True),
        ("Set-Cookie", False),
        ("Authorization", False),
        ("x-api-key", False),
        ("anthropic-organization-id", False),
        ("openai-organization", False),
        ("Transfer-Encoding", False),
        ("Content-Length", False),
        ("x-gateway-request-id", False),
    ],
)
def test_what_comes_down_is_on_a_list_too(name: str, comes_down: bool):
    assert downstream_headers([(name, "v")]) == ([(name, "v")] if comes_down else [])
