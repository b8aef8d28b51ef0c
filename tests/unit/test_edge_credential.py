import pytest

from gateway.domain.errors import AuthenticationError, InvalidRequestError
from gateway.edge.credential import presented_key


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", "Bearer gw_key"),
        ("authorization", "bearer  gw_key "),
        ("Authorization", "BEARER gw_key"),
        ("Authorization", "gw_key"),
        ("x-api-key", "gw_key"),
        ("X-Api-Key", " gw_key"),
        ("x-goog-api-key", "gw_key"),
        ("api-key", "gw_key"),
        (
            "Authorization",
            (
                "AWS4-HMAC-SHA256 Credential=gw_key/20261125/us-east-1/bedrock/aws4_request, "
                "SignedHeaders=host;x-amz-date, Signature=00ff"
            ),
        ),
    ],
)
def test_a_key_is_taken_from_any_header_that_an_sdk_uses(header: tuple[str, str]) -> None:
    assert presented_key([("Host", "x"), header]) == "gw_key"


def test_the_same_key_twice_is_one_key() -> None:
    headers = [("Authorization", "Bearer gw_key"), ("x-api-key", "gw_key"), ("x-api-key", "gw_key")]

    assert presented_key(headers) == "gw_key"


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer gw_one"), ("x-api-key", "gw_two")],
        [("x-api-key", "gw_one"), ("x-api-key", "gw_two")],
        [("api-key", "gw_one"), ("x-goog-api-key", "gw_two")],
        [("x-api-key", "gw_one"), ("x-api-key", "GW_ONE")],
        [("Authorization", "Basic gw_one"), ("x-api-key", "gw_one")],
        [("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/d/r"), ("x-api-key", "gw_one")],
    ],
)
def test_two_keys_that_differ_are_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        presented_key(headers)

    assert "gw_" not in caught.value.message


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Cookie", "gw_key")],
        [("x-api-key", "")],
        [("x-api-key", "  ")],
        [("Authorization", "")],
        [("Authorization", "Bearer ")],
        [("X-Authorization", "Bearer gw_key")],
        [("Proxy-Authorization", "Bearer gw_key")],
    ],
)
def test_a_request_without_a_key_is_not_authenticated(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(AuthenticationError):
        presented_key(headers)


def test_an_empty_header_does_not_stand_in_the_way_of_a_key() -> None:
    assert presented_key([("x-api-key", ""), ("Authorization", "Bearer gw_key")]) == "gw_key"
