"""The client's credential: one virtual key in any of the headers that SDKs use."""

import re
from collections.abc import Iterable

from gateway.domain.errors import AuthenticationError, InvalidRequestError

_KEY_HEADERS = frozenset({"x-api-key", "x-goog-api-key", "api-key"})
_BEARER = "bearer "
# AWS's SDKs send a bearer token over TLS alone, so a gateway key may stand as the access key id in
# what they sign otherwise. The signature is not ours to check: we keep no secrets of clients.
_AWS_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/")


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
            keys.add(_authorized(value))
    keys.discard("")
    if not keys:
        raise AuthenticationError
    if len(keys) > 1:
        raise InvalidRequestError("Two credentials that differ: send one gateway key.")
    return keys.pop()


def _authorized(value: str) -> str:
    if value[: len(_BEARER)].lower() == _BEARER:
        return value[len(_BEARER) :].strip()
    signed = _AWS_CREDENTIAL.match(value)
    return value.strip() if signed is None else signed[1]
