"""The client's credential: one virtual key in any of the headers that SDKs use."""

from collections.abc import Iterable

from gateway.domain.errors import AuthenticationError, InvalidRequestError

_KEY_HEADERS = frozenset({"x-api-key", "x-goog-api-key", "api-key"})
_BEARER = "bearer "


def presented_key(headers: Iterable[tuple[str, str]]) -> str:
    """The key that a request presents.

    SDKs may send the same key in two headers; two that differ are refused, because it would be
    unclear who pays.

    Raises:
        AuthenticationError: no key.
        InvalidRequestError: keys that differ.
    """
    keys = set()
    for name, value in headers:
        lower = name.lower()
        if lower in _KEY_HEADERS:
            keys.add(value.strip())
        elif lower == "authorization":
            is_bearer = value[: len(_BEARER)].lower() == _BEARER
            keys.add(value[len(_BEARER) :].strip() if is_bearer else value.strip())
    keys.discard("")
    if not keys:
        raise AuthenticationError
    if len(keys) > 1:
        raise InvalidRequestError("Two credentials that differ: send one gateway key.")
    return keys.pop()
