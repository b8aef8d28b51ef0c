"""Heads of HTTP/1.1 requests in their plainest form; whatever is not plain is for another reader.

The plain form has one reading alone, so no two readers can disagree about where a request ends.
"""

import re
from typing import NamedTuple

HEAD_BYTES_MAX = 8 * 1024
HEADERS_MAX = 64

_HEAD = re.compile(
    rb"POST /[!-~]* HTTP/1\.1(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*)+", re.DOTALL
)
_LENGTH = re.compile(r"[0-9]{1,15}")
# As nearly every client spells it, and none that may stand for another header's value.
_LENGTH_LINE = re.compile(rb"\r\n[Cc]ontent-[Ll]ength:[ \t]*([0-9]{1,15})[ \t]*(?:\r\n|\Z)")
_ONCE = ("host", "content-length")
# These frame the body otherwise, or ask for something before it.
_NOT_PLAIN = frozenset(
    {
        "content-encoding",
        "expect",
        "http2-settings",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TARGET_START = len("POST ")
_VERSION_CHARS = len(" HTTP/1.1")


class RequestHead(NamedTuple):
    """A plain POST of HTTP/1.1 that keeps its connection, with a body of a known length."""

    target: str
    """As it stood on the request line."""
    headers: tuple[tuple[str, str], ...]
    """As the client spelled them, in its order; visible ASCII, blanks and tabs."""
    content_bytes: int


class LengthApart(NamedTuple):
    """A head in two: what clients repeat with every request, and the length of this one's body."""

    rest: bytes
    """Two heads with an equal rest differ in their content length alone."""
    content_bytes: int


def read_plain_head(head: bytes) -> RequestHead | None:
    """Read a head without its empty line; None where it is not plain."""
    if len(head) > HEAD_BYTES_MAX or _HEAD.fullmatch(head) is None:
        return None
    request_line, *lines = head.decode("ascii").split("\r\n")
    if len(lines) > HEADERS_MAX:
        return None
    headers = []
    said: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        value = value.strip(" \t")
        headers.append((name, value))
        said.setdefault(name.lower(), []).append(value)
    if not _NOT_PLAIN.isdisjoint(said) or any(len(said.get(name, ())) != 1 for name in _ONCE):
        return None
    if any(value.lower() != "keep-alive" for value in said.get("connection", ())):
        return None
    length = said["content-length"][0]
    # Readers differ in which of two types says what the body is.
    if _LENGTH.fullmatch(length) is None or len(said.get("content-type", ())) > 1:
        return None
    return RequestHead(
        target=request_line[_TARGET_START:-_VERSION_CHARS],
        headers=tuple(headers),
        content_bytes=int(length),
    )


def length_apart(head: bytes) -> LengthApart | None:
    """Take the length out of a head; None where it does not stand there in its usual spelling.

    The head may be anything: only where an equal rest was read from a plain head does it tell how
    long the body is.
    """
    found = _LENGTH_LINE.search(head)
    if found is None:
        return None
    start, end = found.span(1)
    return LengthApart(head[:start] + head[end:], int(head[start:end]))
