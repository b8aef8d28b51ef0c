"""Amazon's binary event stream: frames out of bytes, split anywhere, and frames into bytes."""

import struct
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

FRAME_BYTES_MAX = 16 << 20
# Bedrock sends a handful of different header blocks; a sender of many is not worth remembering.
_REMEMBERED_HEADERS_MAX = 32
_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_LENGTHS = struct.Struct(">II")
_LENGTHS_BYTES, _PRELUDE_BYTES = 8, 12
_FRAME_BYTES_MIN = 16
_STRING = 7
_BYTES = 6
# Header values of a fixed length by their type: true, false, byte, short, integer, long,
# timestamp, uuid. Source: Smithy 2.0, event stream specification, header value types.
_FIXED_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class Frame(NamedTuple):
    """One message: its string headers (`:event-type` and its like) and its payload."""

    headers: Mapping[str, str]
    payload: bytes


class EventStreamFramer:
    """Cuts a byte stream into frames and checks both checksums of each.

    A frame whose own checksum fails is left out, and reading goes on behind it: its length has a
    checksum of its own. Where that one fails, or a length makes no sense, reading stops for good.
    Either way `is_damaged` says so.
    """

    def __init__(self) -> None:
        self.is_damaged = False
        self._is_stopped = False
        self._pending = bytearray()
        self._wanted_bytes = _PRELUDE_BYTES
        self._remembered: dict[bytes, Mapping[str, str]] = {}

    @property
    def is_between_frames(self) -> bool:
        """Nothing of a further frame has come, and none was given up on."""
        return not self._pending and not self._is_stopped

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that this piece completes. Never raises; keeps at most one frame."""
        if self._is_stopped:
            return []
        if self._pending:
            self._pending += piece
            if len(self._pending) < self._wanted_bytes:
                return []
            piece = bytes(self._pending)
            self._pending.clear()
        frames: list[Frame] = []
        start = self._cut(piece, frames)
        if start < len(piece) and not self._is_stopped:
            self._pending += piece[start:]
        return frames

    def _cut(self, data: bytes, frames: list[Frame]) -> int:
        """Take all whole frames; the place where the first that is not whole begins."""
        start, end = 0, len(data)
        while end - start >= _PRELUDE_BYTES:
            frame_bytes, header_bytes, prelude_crc = _PRELUDE.unpack_from(data, start)
            if (
                crc32(data[start : start + _LENGTHS_BYTES]) != prelude_crc
                or frame_bytes > FRAME_BYTES_MAX
                or frame_bytes < header_bytes + _FRAME_BYTES_MIN
            ):
                self.is_damaged = self._is_stopped = True
                return start
            if end - start < frame_bytes:
                self._wanted_bytes = frame_bytes
                return start
            frame_end = start + frame_bytes
            message = data[start : frame_end - 4]
            (message_crc,) = _CRC.unpack_from(data, frame_end - 4)
            payload_start = _PRELUDE_BYTES + header_bytes
            headers = self._headers(message[_PRELUDE_BYTES:payload_start])
            if headers is None or crc32(message) != message_crc:
                self.is_damaged = True
            else:
                frames.append(Frame(headers, message[payload_start:]))
            start = frame_end
        self._wanted_bytes = _PRELUDE_BYTES
        return start

    def _headers(self, block: bytes) -> Mapping[str, str] | None:
        headers = self._remembered.get(block)
        if headers is None:
            headers = _parsed_headers(block)
            if headers is not None and len(self._remembered) < _REMEMBERED_HEADERS_MAX:
                self._remembered[block] = headers
        return headers


def _parsed_headers(block: bytes) -> dict[str, str] | None:
    """The string headers; None where the block is not what its lengths say."""
    headers: dict[str, str] = {}
    position = 0
    try:
        while position < len(block):
            name_end = position + 1 + block[position]
            name = block[position + 1 : name_end].decode()
            kind, position = block[name_end], name_end + 1
            if kind in _FIXED_BYTES:
                position += _FIXED_BYTES[kind]
                continue
            if kind not in (_STRING, _BYTES):
                return None
            (value_bytes,) = _LENGTH.unpack_from(block, position)
            value = block[position + 2 : position + 2 + value_bytes]
            position += 2 + value_bytes
            if kind == _STRING:
                headers[name] = value.decode()
    except (IndexError, UnicodeDecodeError, struct.error):
        return None
    return headers if position == len(block) else None


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame with these string headers."""
    block = b"".join(
        bytes([len(name.encode())])
        + name.encode()
        + bytes([_STRING])
        + _LENGTH.pack(len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    lengths = _LENGTHS.pack(len(block) + len(payload) + _FRAME_BYTES_MIN, len(block))
    message = lengths + _CRC.pack(crc32(lengths)) + block + payload
    return message + _CRC.pack(crc32(message))
