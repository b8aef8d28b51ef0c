import struct
import zlib

import pytest

from gateway.wire.eventstream import FRAME_BYTES_MAX, EventStreamFramer, encode_frame

DELTA = {
    ":event-type": "contentBlockDelta",
    ":content-type": "application/json",
    ":message-type": "event",
}


def frame_with_headers(block: bytes, payload: bytes = b"{}") -> bytes:
    lengths = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def string_header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value


def test_the_published_empty_message_is_made_and_read():
    # Source: Smithy event stream specification: no headers, no payload, CRCs 05c248eb, 7d98c8ff.
    empty = bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")
    assert encode_frame({}, b"") == empty
    (frame,) = EventStreamFramer().feed(empty)
    assert (frame.headers, frame.payload) == ({}, b"")


def test_frames_come_out_whatever_the_split():
    stream = encode_frame(DELTA, b'{"a":1}') + encode_frame({":event-type": "x"}, b"")
    for size in (1, 2, 3, 7, 11, 12, 13, 40, len(stream)):
        framer = EventStreamFramer()
        frames = [
            frame
            for start in range(0, len(stream), size)
            for frame in framer.feed(stream[start : start + size])
        ]
        assert [(dict(frame.headers), frame.payload) for frame in frames] == [
            (DELTA, b'{"a":1}'),
            ({":event-type": "x"}, b""),
        ]
        assert framer.is_between_frames
        assert not framer.is_damaged


def test_every_type_of_header_value_is_stepped_over():
    block = b"".join(
        [
            b"\x01a\x00",
            b"\x01b\x01",
            b"\x01c\x02\x00",
            b"\x01d\x03\x00\x00",
            b"\x01e\x04" + bytes(4),
            b"\x01f\x05" + bytes(8),
            b"\x01g\x06\x00\x03abc",
            b"\x01h\x08" + bytes(8),
            b"\x01i\x09" + bytes(16),
            string_header(b":event-type", b"metadata"),
        ]
    )
    (frame,) = EventStreamFramer().feed(frame_with_headers(block))
    assert frame.headers == {":event-type": "metadata"}


@pytest.mark.parametrize(
    "block",
    [b"\x01a\x0a", b"\x05a", b"\x01a\x07\x00\x09abc", b"\x01\xff\x07\x00\x00", b"\x01a\x05\x00"],
)
def test_a_header_block_that_does_not_add_up_drops_its_frame_only(block):
    framer = EventStreamFramer()
    frames = framer.feed(frame_with_headers(block) + encode_frame(DELTA, b"{}"))
    assert [frame.payload for frame in frames] == [b"{}"]
    assert framer.is_damaged


def test_a_damaged_frame_is_left_out_and_the_next_one_is_read():
    damaged = bytearray(encode_frame(DELTA, b'{"a":1}'))
    damaged[-6] ^= 1
    framer = EventStreamFramer()
    frames = framer.feed(bytes(damaged) + encode_frame(DELTA, b"{}"))
    assert [frame.payload for frame in frames] == [b"{}"]
    assert framer.is_damaged
    assert framer.is_between_frames


def test_a_damaged_length_ends_the_reading():
    damaged = bytearray(encode_frame(DELTA, b"{}"))
    damaged[3] ^= 1
    framer = EventStreamFramer()
    assert framer.feed(bytes(damaged)) == []
    assert framer.feed(encode_frame(DELTA, b"{}")) == []
    assert framer.is_damaged
    assert not framer.is_between_frames


@pytest.mark.parametrize(
    ("frame_bytes", "header_bytes"), [(FRAME_BYTES_MAX + 1, 0), (15, 0), (20, 5)]
)
def test_a_length_that_makes_no_sense_ends_the_reading(frame_bytes, header_bytes):
    lengths = struct.pack(">II", frame_bytes, header_bytes)
    framer = EventStreamFramer()
    assert framer.feed(lengths + struct.pack(">I", zlib.crc32(lengths)) + bytes(100)) == []
    assert framer.is_damaged
    assert framer.feed(bytes(1000)) == []


def test_a_cut_frame_is_not_the_end():
    framer = EventStreamFramer()
    assert framer.feed(encode_frame(DELTA, b"{}")[:-1]) == []
    assert not framer.is_between_frames
    assert not framer.is_damaged


def test_a_sender_of_ever_new_headers_is_read_but_not_remembered():
    framer = EventStreamFramer()
    for number in range(100):
        (frame,) = framer.feed(encode_frame({"n": str(number)}, b""))
        assert frame.headers == {"n": str(number)}
    assert len(framer._remembered) == 32
