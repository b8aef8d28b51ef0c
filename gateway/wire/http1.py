"""The heads of HTTP/1.1 responses, read strictly: no two readers could read one differently."""

import re
from enum import Enum

from gateway.domain.value import Value

HEAD_BYTES_MAX = 64 * 1024
HEADERS_MAX = 128

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# All bytes of a line; taking them out by a table is ten times faster than a search for the rest.
_PLAIN = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(r"[0-9]{1,15}")

_FRAMING_NAMES = frozenset({"connection", "content-length", "transfer-encoding"})
# Providers send the same few names with every answer: each is judged once.
_NAMES_MAX = 1024
_lower_names: dict[str, str] = {}

_SWITCHING_PROTOCOLS = 101
_SUCCESS_LEAST = 200
_BODILESS = frozenset({204, 304})


class FramingError(Exception):
    """The peer's bytes are not a response as HTTP/1.1 frames one."""


class Framing(Enum):
    """What says where a body ends."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"
    """The end of the connection: an end cannot be told from a cut."""


class ResponseHead(Value, frozen=True, kw_only=True):
    """Status and headers, as the peer spelled them, and how the body is framed."""

    status: int
    headers: list[tuple[str, str]]
    framing: Framing
    content_bytes: int | None
    """Set where the framing is by length."""
    keeps_alive: bool

    def header(self, lower_name: str) -> str | None:
        for name, value in self.headers:
            if name.lower() == lower_name:
                return value
        return None


class HeadReader:
    """Reads one final response head; informational ones before it are passed over."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._read_bytes = 0

    def feed(self, piece: bytes) -> tuple[ResponseHead, bytes] | None:
        """The head and what followed it, once the head is whole.

        Raises:
            FramingError: this is no response that can be relayed.
        """
        data = piece
        if self._buffer:
            self._buffer += piece
            data = bytes(self._buffer)
        while True:
            end = data.find(b"\r\n\r\n")
            self._bound(len(data) if end < 0 else end)
            if end < 0:
                if _BARE_LF.search(data):
                    raise FramingError("a line ends without a carriage return")
                self._buffer = bytearray(data)
                return None
            head = _parse_head(data[:end])
            data = data[end + 4 :]
            if head is not None:
                self._buffer.clear()
                return head, data
            self._read_bytes += end + 4

    def _bound(self, bytes_more: int) -> None:
        if self._read_bytes + bytes_more > HEAD_BYTES_MAX:
            raise FramingError("the head is too large")


def _parse_head(head: bytes) -> ResponseHead | None:
    """None for an informational response."""
    if not _is_clean(head):
        raise FramingError("the head holds bytes that may not stand there")
    first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise FramingError("no HTTP/1.x status line")
    if len(lines) > HEADERS_MAX:
        raise FramingError("too many headers")
    headers, said = _headers_of(lines)
    status = int(status_line[2])
    if status == _SWITCHING_PROTOCOLS:
        raise FramingError("the protocol was switched, and nobody had asked")
    if status < _SUCCESS_LEAST:
        return None
    return _framed(status, headers, said, is_http_1_0=status_line[1] == "0")


def _is_clean(head: bytes) -> bool:
    """No controls, no line end that is not CRLF, and no line that begins with a blank (a fold)."""
    line_ends = head.translate(None, _PLAIN)
    return (
        len(line_ends) == 2 * head.count(b"\r\n")
        and not line_ends.translate(None, b"\r\n")
        and b"\n " not in head
        and b"\n\t" not in head
    )


def _headers_of(lines: list[str]) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """All headers, and what those say that frame the body."""
    headers = []
    said: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        lower = _lower_names.get(name) or _lower_name(name)
        if not colon:
            raise FramingError("a header line without a name")
        value = value.strip(" \t")
        headers.append((name, value))
        if lower in _FRAMING_NAMES:
            said.setdefault(lower, []).append(value)
    return headers, said


def _lower_name(name: str) -> str:
    if _HEADER_NAME.fullmatch(name) is None:
        raise FramingError("a header line without a name")
    lower = name.lower()
    if len(_lower_names) < _NAMES_MAX:
        _lower_names[name] = lower
    return lower


def _framed(
    status: int,
    headers: list[tuple[str, str]],
    said: dict[str, list[str]],
    *,
    is_http_1_0: bool,
) -> ResponseHead:
    connection = [
        option.strip().lower()
        for value in said.get("connection", ())
        for option in value.split(",")
    ]
    lengths, codings = said.get("content-length", []), said.get("transfer-encoding", [])
    framing, content_bytes = _framing(lengths, codings, is_http_1_0=is_http_1_0)
    if status in _BODILESS:
        if framing is Framing.CHUNKED or (content_bytes and status != 304):  # noqa: PLR2004
            raise FramingError("a body where there may be none")
        framing, content_bytes = Framing.LENGTH, 0
    keeps_alive = "keep-alive" in connection if is_http_1_0 else "close" not in connection
    return ResponseHead(
        status=status,
        headers=headers,
        framing=framing,
        content_bytes=content_bytes,
        keeps_alive=keeps_alive and framing is not Framing.CLOSE,
    )


def _framing(
    lengths: list[str], codings: list[str], *, is_http_1_0: bool
) -> tuple[Framing, int | None]:
    if codings:
        # Two ways to tell the end are two different ends to two different readers.
        if lengths or is_http_1_0 or [coding.lower() for coding in codings] != ["chunked"]:
            raise FramingError("ambiguous or unknown transfer encoding")
        return Framing.CHUNKED, None
    if not lengths:
        return Framing.CLOSE, None
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise FramingError("ambiguous or invalid content length")
    return Framing.LENGTH, int(lengths[0])
