"""The strict reader of response heads, and the trackers of bodies."""

import pytest

from gateway.wire import http1
from gateway.wire.http1 import (
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    Framing,
    FramingError,
    HeadReader,
    ResponseHead,
)
from gateway.wire.http1_body import Body, ChunkedBody, LengthBody, body_of


def head_of(text: str) -> ResponseHead:
    read = HeadReader().feed(text.replace("\n", "\r\n").encode())
    assert read is not None
    return read[0]


def passed(body: Body, *pieces: bytes) -> tuple[bytes, bytes]:
    """Payload and forwarded bytes of all pieces."""
    payload, framed = b"", b""
    for piece in pieces:
        payload += body.feed(piece)
        framed += body.framed
    return payload, framed


def test_a_head_gives_status_headers_and_what_followed_it():
    read = HeadReader().feed(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length:\t5 \r\n\r\nhello"
    )
    assert read is not None
    head, rest = read
    assert head.status == 200
    assert head.headers == [("Content-Type", "text/plain"), ("content-length", "5")]
    assert (head.framing, head.content_bytes, head.keeps_alive) == (Framing.LENGTH, 5, True)
    assert head.header("content-type") == "text/plain"
    assert head.header("date") is None
    assert rest == b"hello"


def test_a_head_may_come_byte_by_byte():
    reader = HeadReader()
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    for at in range(len(text) - 1):
        assert reader.feed(text[at : at + 1]) is None
    read = reader.feed(text[-1:])
    assert read is not None
    assert read[0].framing is Framing.CHUNKED


def test_informational_responses_are_passed_over():
    reader = HeadReader()
    assert reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n") is None
    read = reader.feed(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n")
    assert read is not None
    assert read[0].status == 204
    assert read[0].content_bytes == 0


@pytest.mark.parametrize(
    ("headers", "keeps_alive"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", True),
        ("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: x, Close\n\n", False),
        ("HTTP/1.0 200 OK\nContent-Length: 0\n\n", False),
        ("HTTP/1.0 200 OK\nContent-Length: 0\nConnection: keep-alive\n\n", True),
        ("HTTP/1.1 200 OK\n\n", False),
    ],
)
def test_a_connection_is_kept_only_where_the_peer_keeps_it(headers: str, keeps_alive: bool):
    assert head_of(headers).keeps_alive is keeps_alive


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xd9\xa3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_head_that_two_readers_could_read_differently_is_refused(text: bytes):
    with pytest.raises(FramingError):
        HeadReader().feed(text)


def test_a_head_is_bounded_in_size_and_in_lines():
    many = b"".join(b"X: 1\r\n" for _ in range(HEADERS_MAX + 1))
    with pytest.raises(FramingError, match="too many"):
        HeadReader().feed(b"HTTP/1.1 200 OK\r\n" + many + b"\r\n")
    with pytest.raises(FramingError, match="too large"):
        HeadReader().feed(b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEAD_BYTES_MAX)
    with pytest.raises(FramingError, match="too large"):
        HeadReader().feed(b"HTTP/1.1 100 Continue\r\n\r\n" * HEAD_BYTES_MAX)


def test_a_304_has_no_body_whatever_its_length_says():
    head = head_of("HTTP/1.1 304 Not Modified\nContent-Length: 100\n\n")
    assert body_of(head).is_ended


def test_a_body_by_length_ends_where_it_says():
    body = LengthBody(5)
    assert passed(body, b"he", b"llo") == (b"hello", b"hello")
    assert body.is_ended
    assert not body.has_excess


def test_what_stands_behind_a_body_by_length_is_not_passed_on():
    body = LengthBody(5)
    assert passed(body, b"helloHTTP/1.1 200") == (b"hello", b"hello")
    assert body.is_ended
    assert body.has_excess


def test_a_chunked_body_is_passed_on_as_the_very_same_object():
    piece = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    body = ChunkedBody()
    assert body.feed(piece) == b"hello world"
    assert body.framed is piece
    assert body.is_ended
    assert not body.has_excess


@pytest.mark.parametrize("size", [1, 15, 16, 255, 256, 1023, 1024, 70_000])
def test_chunks_of_every_width_of_size_line_are_read(size: int):
    chunk = b"%x\r\n%b\r\n" % (size, b"a" * size)
    for before in (b"", b"1\r\nb\r\n"):
        body = ChunkedBody()
        framed = before + chunk + chunk + b"0\r\n\r\n"
        payload, out = passed(body, framed)
        assert payload == b"b" * (len(before) > 0) + b"a" * (2 * size)
        assert out == framed
        assert body.is_ended


def test_trailers_are_left_out_and_extensions_passed_on():
    body = ChunkedBody()
    payload, out = passed(body, b"5;a=b \r\nhello\r\n000 ;x\r\nSet-Cookie: a\r\n\r\n")
    assert payload == b"hello"
    assert out == b"5;a=b \r\nhello\r\n0\r\n\r\n"
    assert body.is_ended


def test_a_last_chunk_that_is_not_canonical_is_made_so():
    body = ChunkedBody()
    assert passed(body, b"1\r\na\r\n0;z=0\r\n\r\n") == (b"a", b"1\r\na\r\n0\r\n\r\n")


def test_bytes_behind_the_last_chunk_are_not_passed_on():
    body = ChunkedBody()
    assert passed(body, b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200") == (b"a", b"1\r\na\r\n0\r\n\r\n")
    assert body.is_ended
    assert body.has_excess


def test_a_size_line_in_two_pieces_waits_for_its_rest():
    body = ChunkedBody()
    body.feed(b"1\r\na\r\n")
    body.feed(b"1")
    assert body.framed == b""
    assert body.feed(b"0\r\n" + b"b" * 16) == b"b" * 16
    assert body.framed == b"10\r\n" + b"b" * 16


@pytest.mark.parametrize(
    "text",
    [
        b"5\r\nhelloworld",
        b"5\r\nhello\n5\r\nworld\r\n",
        b"5\r\nhello\rX",
        b"5\r\nhello5\r\nworld\r\n",
        b"g\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"\r\n",
        b" 5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5;a\x00b\r\nhello\r\n",
        b"1234567890abcdef1\r\n",
        b"5;" + b"a" * 5000,
        b"0\r\n" + b"X: y\r\n" * 5000,
    ],
)
@pytest.mark.parametrize("step", [1, 3, 10_000_000])
def test_a_chunk_that_is_not_framed_as_it_says_is_refused(text: bytes, step: int):
    body = ChunkedBody()
    with pytest.raises(FramingError):
        passed(body, *(text[at : at + step] for at in range(0, len(text), step)))


def test_many_chunks_in_one_piece_are_read_exactly_even_where_payloads_look_like_framing():
    plain = b"".join(b"96\r\n" + b"a" * 150 + b"\r\n" for _ in range(20))
    tricky = b"c\r\nab\r\n5\r\nhello\r\n7\r\n\r\n0\r\n\r\n\r\n"
    for framed in (plain, plain + tricky + plain, tricky + plain):
        body = ChunkedBody()
        count = framed.count(b"96\r\n")
        payload, out = passed(body, framed + b"0\r\n\r\n")
        assert payload.replace(b"ab\r\n5\r\nhello", b"").replace(b"\r\n0\r\n\r\n", b"") == (
            b"a" * 150 * count
        )
        assert out == framed + b"0\r\n\r\n"
        assert body.is_ended


@pytest.mark.parametrize("wrong", [b"\r\n\r\n", b"5\r\nhell\r\n", b"g\r\nhello\r\n", b"-1\r\n\r\n"])
@pytest.mark.parametrize("is_last", [False, True])
def test_one_wrong_chunk_among_many_in_one_piece_is_refused(wrong: bytes, is_last: bool):
    right = b"96\r\n" + b"a" * 150 + b"\r\n"
    framed = right * 20 + wrong + right * 20 + b"0\r\n\r\n" * is_last
    with pytest.raises(FramingError):
        passed(ChunkedBody(), framed)


@pytest.mark.parametrize("before", [17, 300])
def test_a_piece_may_end_with_a_size_line_shorter_than_the_one_before(before: int):
    first = b"%x\r\n" % before + b"a" * before + b"\r\n5\r\n"
    body = ChunkedBody()
    payload, out = passed(body, first, b"hello\r\n0\r\n\r\n")
    assert payload == b"a" * before + b"hello"
    assert out == first + b"hello\r\n0\r\n\r\n"
    assert body.is_ended


def test_what_is_remembered_of_heads_is_bounded():
    for number in range(2 * http1._LINES_MAX):
        head_of(f"HTTP/1.1 200 {number}\nx-id: {number}\nx-long: {number:0300}\n\n")
    for known in (http1._known_lines, http1._known_statuses):
        assert 0 < len(known) <= http1._LINES_MAX
        assert max(map(len, known)) <= http1._LINE_BYTES_MAX


@pytest.mark.parametrize(
    ("connection", "keeps_alive"),
    [("keep-alive", True), ("Keep-Alive", True), ("upgrade", False), ("close", False)],
)
def test_an_old_connection_is_kept_where_it_says_so_alone(connection: str, keeps_alive: bool):
    head = head_of(f"HTTP/1.0 200 OK\nConnection: {connection}\nContent-Length: 0\n\n")
    assert head.keeps_alive is keeps_alive
