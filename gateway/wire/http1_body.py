"""The bodies of HTTP/1.1 responses on their way through: trackers that find where one ends."""

import re
from abc import ABC, abstractmethod

from typing_extensions import override

from gateway.wire.http1 import Framing, FramingError, ResponseHead

_SIZE_LINE_BYTES_MAX = 4 * 1024
_TRAILER_BYTES_MAX = 16 * 1024
_CRLF = b"\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
# Controls and a line end that is not CRLF.
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")

# Most chunks of a stream are one small event: what ends one chunk and begins the next is looked up
# whole, which is three times cheaper than finding and parsing it.
_SMALL_CHUNK_BYTES_MAX = 1023
_SIZES = {b"%x" % size: size for size in range(1, _SMALL_CHUNK_BYTES_MAX + 1)}
# As they are written, by length. No chunk but the last is empty, and that one is told apart.
_SIZE_LINES = [None, *_SIZES]
_SEPARATORS = {b"\r\n%x\r\n" % size: size for size in range(1, _SMALL_CHUNK_BYTES_MAX + 1)}


class Body(ABC):
    """A body on its way through: `feed` returns its payload, `framed` holds what to pass on.

    `framed` is the piece as it came where nothing had to change, and never more than the response:
    bytes behind its end are left out and set `has_excess`.
    """

    __slots__ = ("framed", "has_excess", "is_ended")

    def __init__(self) -> None:
        self.framed = b""
        self.has_excess = False
        self.is_ended = False

    @abstractmethod
    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return their payload, transfer framing removed.

        Raises:
            FramingError: these are no such bytes.
        """


class LengthBody(Body):
    """A body of a length that was told beforehand."""

    __slots__ = ("_left_bytes",)

    def __init__(self, content_bytes: int) -> None:
        super().__init__()
        self._left_bytes = content_bytes
        self.is_ended = content_bytes == 0

    @override
    def feed(self, piece: bytes) -> bytes:
        left = self._left_bytes - len(piece)
        if left <= 0:
            self.is_ended = True
            if left < 0:
                self.has_excess = True
                piece = piece[:left]
                left = 0
        self._left_bytes = left
        self.framed = piece
        return piece


class CloseBody(Body):
    """A body that goes on until the connection ends."""

    __slots__ = ()

    @override
    def feed(self, piece: bytes) -> bytes:
        self.framed = piece
        return piece


class ChunkedBody(Body):
    """A body in chunks, passed on as it is framed, without trailers.

    What is passed on never stops inside a size line: a size line in two pieces waits for its rest.
    """

    __slots__ = ("_held", "_is_in_trailers", "_left_bytes")

    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        self._left_bytes = 0
        """Of the chunk that is running: its payload and the CRLF behind it."""
        self._is_in_trailers = False

    @override
    def feed(self, piece: bytes) -> bytes:
        left = self._left_bytes
        if left:
            if left - 2 >= len(piece):
                self._left_bytes = left - len(piece)
                self.framed = piece
                return piece
        elif not self._held and not self._is_in_trailers:
            # One small event in one chunk, as most pieces of a stream are.
            line_end = piece.find(_CRLF)
            size = _SIZES.get(piece[:line_end])
            if size is not None and line_end + size + 4 == len(piece) and piece[-2:] == _CRLF:
                self.framed = piece
                return piece[line_end + 2 : -2]
            many = self._whole_chunks(piece)
            if many is not None:
                return many
        if self._is_in_trailers:
            self._pass_trailers(self._held + piece, b"")
            return b""
        payload: list[bytes] = []
        start = self._end_chunk(piece, payload) if left else 0
        data = piece
        if self._held:
            data = self._held + piece
            self._held = b""
        self._walk(data, start, payload)
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def _whole_chunks(self, piece: bytes) -> bytes | None:
        """The payload of a piece of whole small chunks, whose payloads hold no line end.

        Event streams end their lines otherwise, so that a piece falls apart into size lines and
        payloads at once; where every length is the one that was said, no end can be elsewhere.
        """
        if len(piece) <= _SMALL_CHUNK_BYTES_MAX or piece[-2:] != _CRLF:
            return None
        # From the end: CPython finds two bytes so in half the time.
        parts = piece.rsplit(_CRLF)
        is_last = parts[-3:] == [b"0", b"", b""]
        del parts[-3 if is_last else -1 :]
        payloads = parts[1::2]
        lengths = list(map(len, payloads))
        if max(lengths, default=0) > _SMALL_CHUNK_BYTES_MAX:
            return None
        if list(map(_SIZE_LINES.__getitem__, lengths)) != parts[::2]:
            return None
        self.framed = piece
        self.is_ended = is_last
        return b"".join(payloads)

    def _end_chunk(self, piece: bytes, payload: list[bytes]) -> int:
        """Take the rest of the running chunk; the offset behind what there is of its CRLF."""
        left = self._left_bytes
        if left > 2:  # noqa: PLR2004 - payload, then CRLF.
            payload.append(piece[: left - 2])
        end = min(left, len(piece))
        expected = _CRLF[-left:] if left < 2 else _CRLF  # noqa: PLR2004
        found = piece[max(left - 2, 0) : end]
        if found != expected[: len(found)]:
            raise FramingError("a chunk is longer than it says")
        self._left_bytes = left - end
        return end

    def _walk(self, data: bytes, start: int, payload: list[bytes]) -> None:
        """From `start`, where a size line begins, to the end of `data`."""
        total = len(data)
        while start < total:
            line_end = data.find(_CRLF, start)
            if line_end < 0:
                self._hold(data, start)
                return
            line = data[start:line_end]
            size = _SIZES.get(line) or _size_from(line)
            if size == 0:
                self._is_in_trailers = True
                self._pass_trailers(data[line_end:], data[:start])
                if data[start:] == _LAST_CHUNK:
                    self.framed = data
                return
            start = self._pass_chunks(data, line_end + 2, size, payload)
        self.framed = data

    def _pass_chunks(self, data: bytes, start: int, size: int, payload: list[bytes]) -> int:
        """Whole chunks from `start`, where a payload of `size` begins, while they are small ones.

        The offset of the next size line, or the end of `data` where a chunk goes on behind it.
        """
        total = len(data)
        end = start + size
        find = _SEPARATORS.get
        take = payload.append
        while end < total:
            take(data[start:end])
            # As wide as the last one: a separator that has another width is found the long way.
            width = 7 if size > 0xFF else 6 if size > 0xF else 5  # noqa: PLR2004
            separator = data[end : end + width]
            size_next = find(separator)
            if size_next is None:
                crlf = data[end : end + 2]
                if crlf != _CRLF[: len(crlf)]:
                    raise FramingError("a chunk is longer than it says")
                self._left_bytes = 2 - len(crlf)
                return end + len(crlf)
            size = size_next
            # Narrower than asked for where the piece ends with it.
            start = end + len(separator)
            end = start + size
        take(data[start:])
        self._left_bytes = end - total + 2
        return total

    def _hold(self, data: bytes, start: int) -> None:
        self._held = data[start:]
        self.framed = data[:start]
        if len(self._held) > _SIZE_LINE_BYTES_MAX:
            raise FramingError("a chunk's size line is too long")
        if _FORBIDDEN.search(self._held.removesuffix(b"\r")):
            raise FramingError("a chunk's size line holds bytes that may not stand there")

    def _pass_trailers(self, trailers: bytes, framed_before: bytes) -> None:
        """`trailers` begin with the CRLF that ends the last chunk's size line."""
        end = trailers.find(b"\r\n\r\n")
        if end < 0:
            if len(trailers) > _TRAILER_BYTES_MAX:
                raise FramingError("the trailers are too large")
            self._held = trailers
            self.framed = framed_before
            return
        self._held = b""
        self.is_ended = True
        self.has_excess = end + 4 < len(trailers)
        self.framed = framed_before + _LAST_CHUNK


def _size_from(line: bytes) -> int:
    match = _SIZE_LINE.fullmatch(line)
    if match is None:
        raise FramingError("no chunk size where one must stand")
    return int(match[1], 16)


def body_of(head: ResponseHead) -> Body:
    """The tracker for the body of a response."""
    if head.framing is Framing.CHUNKED:
        return ChunkedBody()
    if head.framing is Framing.LENGTH:
        assert head.content_bytes is not None
        return LengthBody(head.content_bytes)
    return CloseBody()
