"""The heads of HTTP/1.1 responses, read strictly: no two readers could read one differently."""

import re
from enum import Enum
from typing import NamedTuple

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
# Providers send the same lines with every answer, but for a date and an id: each is judged once.
_LINES_MAX = 4096
_LINE_BYTES_MAX = 256
_known_lines: dict[bytes, "_Line"] = {}
_known_statuses: dict[bytes, tuple[int, bool]] = {}

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
    first: dict[str, str]
    """By lower-case name, of several the first."""
    framing: Framing
    content_bytes: int | None
    """Set where the framing is by length."""
    keeps_alive: bool

    def header(self, lower_name: str) -> str | None:
        return self.first.get(lower_name)

    def joined(self, lower_name: str) -> str | None:
        """All headers of this name, as one list."""
        if lower_name not in self.first:
            return None
        return ",".join(value for name, value in self.headers if name.lower() == lower_name)


class _Line(NamedTuple):
    """A header line that may stand in a head."""

    lower: str
    pair: tuple[str, str]
    frames: bool
    """It says something about the body's framing."""


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
    first_line, *lines = head.split(b"\r\n")
    status, is_http_1_0 = _known_statuses.get(first_line) or _status_of(first_line)
    if len(lines) > HEADERS_MAX:
        raise FramingError("too many headers")
    headers = []
    first: dict[str, str] = {}
    said: dict[str, list[str]] = {}
    for line in lines:
        lower, pair, frames = _known_lines.get(line) or _line_of(line)
        headers.append(pair)
        if lower not in first:
            first[lower] = pair[1]
        if frames:
            said.setdefault(lower, []).append(pair[1])
    if status == _SWITCHING_PROTOCOLS:
        raise FramingError("the protocol was switched, and nobody had asked")
    if status < _SUCCESS_LEAST:
        return None
    framing, content_bytes = _framing_of(status, said, is_http_1_0=is_http_1_0)
    return ResponseHead(
        status=status,
        headers=headers,
        first=first,
        framing=framing,
        content_bytes=content_bytes,
        keeps_alive=framing is not Framing.CLOSE and _keeps_alive(said, is_http_1_0=is_http_1_0),
    )


def _status_of(line: bytes) -> tuple[int, bool]:
    """The status, and whether it is one of HTTP/1.0."""
    _refuse_controls(line)
    found = _STATUS_LINE.fullmatch(line.decode("utf-8", "surrogateescape"))
    if found is None:
        raise FramingError("no HTTP/1.x status line")
    status = int(found[2]), found[1] == "0"
    if len(line) <= _LINE_BYTES_MAX:
        if len(_known_statuses) >= _LINES_MAX:
            _known_statuses.clear()
        _known_statuses[line] = status
    return status


def _line_of(line: bytes) -> _Line:
    _refuse_controls(line)
    name, colon, value = line.decode("utf-8", "surrogateescape").partition(":")
    # A line that begins with a blank, a fold, has no such name either.
    if not colon or _HEADER_NAME.fullmatch(name) is None:
        raise FramingError("a header line without a name")
    lower = name.lower()
    known = _Line(lower, (name, value.strip(" \t")), lower in _FRAMING_NAMES)
    if len(line) <= _LINE_BYTES_MAX:
        if len(_known_lines) >= _LINES_MAX:
            _known_lines.clear()
        _known_lines[line] = known
    return known


def _refuse_controls(line: bytes) -> None:
    if line.translate(None, _PLAIN):
        raise FramingError("the head holds bytes that may not stand there")


def _keeps_alive(said: dict[str, list[str]], *, is_http_1_0: bool) -> bool:
    values = said.get("connection")
    if values is None:
        return not is_http_1_0
    options = [option.strip().lower() for value in values for option in value.split(",")]
    return "keep-alive" in options if is_http_1_0 else "close" not in options


def _framing_of(
    status: int, said: dict[str, list[str]], *, is_http_1_0: bool
) -> tuple[Framing, int | None]:
    lengths, codings = said.get("content-length", []), said.get("transfer-encoding", [])
    framing, content_bytes = _framing(lengths, codings, is_http_1_0=is_http_1_0)
    if status in _BODILESS:
        if framing is Framing.CHUNKED or (content_bytes and status != 304):  # noqa: PLR2004
            raise FramingError("a body where there may be none")
        framing, content_bytes = Framing.LENGTH, 0
    return framing, content_bytes


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
