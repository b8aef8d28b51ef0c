"""Framing of server-sent events: where they end, and what is in them."""

import pytest

from gateway.wire.sse import EventFramer, event_span, event_spans, parse_event


def framed(pieces: list[bytes], *, event_bytes_max: int = 1 << 20) -> tuple[list[bytes], int]:
    framer = EventFramer(event_bytes_max=event_bytes_max)
    blocks = b"".join([framer.feed(piece) for piece in pieces])
    blocks += framer.finish()
    events = [parse_event(blocks[start:end]).data for start, end in event_spans(blocks)]
    return [event for event in events if event], framer.losses


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 1000])
def test_every_line_ending_and_split_gives_the_same_events(ending: bytes, piece_bytes: int):
    stream = (
        b'\xef\xbb\xbf: hello\nevent: a\ndata: {"n":1}\n\n\n'
        b"data:{\ndata: \ndata:}\nid: 4\nretry: 10\n\ndata: last\n\n"
    ).replace(b"\n", ending)
    pieces = [stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes)]
    assert framed(pieces) == ([b'{"n":1}', b"{\n\n}", b"last"], 0)


def test_the_type_is_read_in_both_framings():
    assert parse_event(b"event: error\ndata: {}\n\n") == (b"error", b"{}")
    assert parse_event(b"event:error\ndata:{}\nid: 1\n\n") == (b"error", b"{}")
    assert parse_event(b"data: {}\n\n") == (b"", b"{}")


def test_one_space_after_the_colon_is_not_part_of_the_data():
    assert parse_event(b"data:  x\n\n").data == b" x"
    assert parse_event(b"data:x\n\n").data == b"x"


def test_comments_and_unknown_fields_carry_no_data():
    assert parse_event(b": data: x\ndatum: y\ndata\n\n").data == b""


def test_the_text_data_inside_an_event_line_is_no_data_line():
    assert parse_event(b"event: data: x\ndata: y\n\n") == (b"data: x", b"y")


def test_a_last_event_without_its_blank_line_is_given_at_the_end():
    assert framed([b"data: 1\n\nda", b"ta: 2"]) == ([b"1", b"2"], 0)


@pytest.mark.parametrize("piece_bytes", [1, 9, 64])
def test_an_event_that_is_too_long_is_let_go_and_the_next_is_read(piece_bytes: int):
    stream = b"data: 1\n\ndata: " + b"x" * 200 + b"\n\ndata: 2\n\n"
    pieces = [stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes)]
    assert framed(pieces, event_bytes_max=64) == ([b"1", b"2"], 1)


@pytest.mark.parametrize("content_bytes", [57, 58, 59])
@pytest.mark.parametrize("cut", [58, 63, 64, 65, 66, 67])
def test_the_bound_is_the_same_wherever_a_long_event_is_cut(content_bytes: int, cut: int):
    stream = b"data: " + b"x" * content_bytes + b"\n\ndata: 2\n\n"
    whole = framed([stream[at : at + 64] for at in range(0, len(stream), 64)], event_bytes_max=64)
    assert framed([stream[:64][:cut], stream[:64][cut:], stream[64:]], event_bytes_max=64) == whole
    assert whole[1] == (1 if content_bytes > 58 else 0)


@pytest.mark.parametrize("line", [b"x" * 1000, b"data:\n" * 200, b"\x00" * 1000])
def test_bytes_without_an_end_are_not_kept(line: bytes):
    framer = EventFramer(event_bytes_max=4096)
    for _ in range(1000):
        assert framer.feed(line) == b""
    assert len(framer._tail) <= 4096 + len(line)
    assert framer.finish() == b""
    assert framer.losses == 1


def test_the_span_of_an_event_is_found_from_any_of_its_bytes():
    blocks = b"data: 1\n\ndata: 22\n\ndata: 3\n\n"
    assert event_span(blocks, blocks.index(b"22")) == (9, 19)
    assert event_span(blocks, 0) == (0, 9)
    assert event_span(blocks, len(blocks) - 3) == (19, len(blocks))
