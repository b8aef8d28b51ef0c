"""Framing of journal records: a line each, with length and CRC-32, so damage costs one record."""

from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

HOLD: Final = b"H"
SETTLEMENT: Final = b"S"
ADOPTED: Final = b"A"
"""A settlement of a dead writer: the ledger has it, its event has yet to go out."""
RELEASE: Final = b"R"
POSITION: Final = b"P"
"""Not in segments: where a reader stands, in a file of its own."""

_CRC_SEEDS = {kind: crc32(kind) for kind in (HOLD, SETTLEMENT, ADOPTED, RELEASE, POSITION)}
# "LLLLLLLL CCCCCCCC K payload\n": length and checksum in hexadecimal, then the kind.
_LENGTH_END = 8
_CRC_START = 9
_CRC_END = 17
_KIND_START = 18
_KIND_END = 19
_HEADER_BYTES = 20


class Frame(NamedTuple):
    """A whole record; `end` is where the next one starts."""

    kind: bytes
    payload: bytes
    start: int
    end: int


class Damage(NamedTuple):
    """Bytes that are no record. A torn tail is the part of one that a dying process wrote."""

    start: int
    end: int
    is_torn_tail: bool


def encode_frame(kind: bytes, payload: bytes) -> bytes:
    """One line; the payload is JSON or an id, which have no newline in them."""
    checksum = crc32(payload, _CRC_SEEDS[kind])
    return b"%08x %08x %b %b\n" % (len(payload), checksum, kind, payload)


def scan(data: bytes, *, is_end: bool) -> Iterator[Frame | Damage]:
    """Records in order, and what lies between them that is none.

    Offsets count from the start of `data`. Where `is_end` is False more bytes follow: then a record
    or a damage that may go on there is not given, and the next call has to start before it.
    """
    start = 0
    damaged_from: int | None = None
    while start < len(data):
        frame = _frame_at(data, start)
        if frame is not None:
            if damaged_from is not None:
                yield Damage(damaged_from, start, is_torn_tail=False)
                damaged_from = None
            yield frame
            start = frame.end
            continue
        if not is_end and _may_go_on(data, start):
            return
        if damaged_from is None:
            damaged_from = start
        newline = data.find(b"\n", start)
        start = len(data) if newline < 0 else newline + 1
    if damaged_from is not None and is_end:
        yield Damage(damaged_from, len(data), is_torn_tail=_is_torn(data, damaged_from))


def _frame_at(data: bytes, start: int) -> Frame | None:
    payload_start = start + _HEADER_BYTES
    length = _hexadecimal(data[start : start + _LENGTH_END])
    checksum = _hexadecimal(data[start + _CRC_START : start + _CRC_END])
    seed = _CRC_SEEDS.get(data[start + _KIND_START : start + _KIND_END])
    if length is None or checksum is None or seed is None:
        return None
    payload_end = payload_start + length
    if payload_end > len(data):
        return None
    payload = data[payload_start:payload_end]
    if crc32(payload, seed) != checksum:
        return None
    kind = data[start + _KIND_START : start + _KIND_END]
    # The newline is there for resynchronisation; the record is whole without it.
    return Frame(kind, payload, start, payload_end + 1)


def _may_go_on(data: bytes, start: int) -> bool:
    """The record at `start` is cut by the end of `data`, as far as its header can be believed."""
    if start + _HEADER_BYTES > len(data):
        return True
    length = _hexadecimal(data[start : start + _LENGTH_END])
    return length is not None and start + _HEADER_BYTES + length > len(data)


def _is_torn(data: bytes, damaged_from: int) -> bool:
    # A file system may extend a file with zeros before a power failure keeps it from filling them.
    return b"\n" not in data[damaged_from:].rstrip(b"\0")


def _hexadecimal(digits: bytes) -> int | None:
    try:
        return int(digits, 16)
    except ValueError:
        return None
