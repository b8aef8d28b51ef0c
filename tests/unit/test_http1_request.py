"""Heads of requests: what is plain, and that a length is only ever taken out of one place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.http1_request import (
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    RequestHead,
    length_apart,
    read_plain_head,
)

PLAIN = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\nContent-Length: 12"


def test_a_plain_head_is_read_as_it_is_spelled():
    head = b"POST /a?b=c HTTP/1.1\r\nhost: h\r\nX-Empty:\r\nX-A: \t b c \r\nContent-Length:07"
    assert read_plain_head(head) == RequestHead(
        target="/a?b=c",
        headers=(("host", "h"), ("X-Empty", ""), ("X-A", "b c"), ("Content-Length", "07")),
        content_bytes=7,
    )


@pytest.mark.parametrize(
    "head",
    [
        PLAIN.replace(b"POST", b"GET"),
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"/v1/messages", b"http://a/v1/messages"),
        PLAIN.replace(b"/v1/messages", b"/v1/ messages"),
        PLAIN.replace(b"/v1/messages", b"/v1/\xc3\xa9"),
        PLAIN.replace(b"POST ", b"POST  "),
        b"\r\n" + PLAIN,
        PLAIN.replace(b"\r\n", b"\n"),
        PLAIN.replace(b"Host: a", b"Host: a\n"),
        PLAIN.replace(b"Host: a", b"Host: a\rb"),
        PLAIN.replace(b"Host: a", b"Host : a"),
        PLAIN.replace(b"Host: a", b"Host: a\r\n b"),
        PLAIN.replace(b"Host: a", b"Host: a\0"),
        PLAIN.replace(b"Host: a", b"Host: \xff"),
        PLAIN.replace(b"Host: a", b": a"),
        PLAIN.replace(b"Host: a", b"Host"),
        PLAIN.replace(b"Host: a\r\n", b""),
        PLAIN + b"\r\nHost: b",
        PLAIN + b"\r\ncontent-length: 12",
        PLAIN.replace(b": 12", b": 12, 12"),
        PLAIN.replace(b": 12", b": +12"),
        PLAIN.replace(b": 12", b": 1_2"),
        PLAIN.replace(b": 12", b": 0x12"),
        PLAIN.replace(b": 12", b":"),
        PLAIN.replace(b": 12", b": 1234567890123456"),
        PLAIN.replace(b"Content-Length", b"Content_Length"),
        PLAIN + b"\r\nTransfer-Encoding: chunked",
        PLAIN + b"\r\nTRANSFER-ENCODING: identity",
        PLAIN + b"\r\nExpect: 100-continue",
        PLAIN + b"\r\nUpgrade: h2c",
        PLAIN + b"\r\nConnection: close",
        PLAIN + b"\r\nConnection: keep-alive, x-api-key",
        PLAIN + b"\r\nContent-Encoding: gzip",
        PLAIN + b"\r\nContent-Type: application/json" * 2,
        PLAIN + b"\r\nContent-Type: application/json\r\nCONTENT-TYPE: text/plain",
        PLAIN + b"\r\nX: y" * HEADERS_MAX,
        PLAIN + b"\r\nX: " + b"y" * HEAD_BYTES_MAX,
        b"POST /v1/messages HTTP/1.1",
        b"",
    ],
)
def test_what_is_not_plain_is_for_another_reader(head):
    assert read_plain_head(PLAIN) is not None
    assert read_plain_head(head) is None


def test_a_length_is_taken_out_where_it_stands():
    first = length_apart(PLAIN)
    second = length_apart(PLAIN.replace(b": 12", b": 3456"))
    assert first is not None
    assert second is not None
    assert first.rest == second.rest
    assert (first.content_bytes, second.content_bytes) == (12, 3456)


@pytest.mark.parametrize("other", [b"X-Api-Key: k2", b"X-Api-Key: k\r\nX: y", b"Connection: close"])
def test_what_stands_behind_the_length_is_part_of_the_rest(other: bytes):
    behind = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n"
    first, second = length_apart(behind + b"X-Api-Key: k"), length_apart(behind + other)
    assert first is not None
    assert second is not None
    assert first.rest != second.rest


lines = st.sampled_from(
    [
        *(b"Host: a", b"Host: b", b"X: y", b"X: Content-Length: 5", b"Content-Length: "),
        *(b"Content-Length: 5", b"content-length:6", b"CONTENT-LENGTH: 7", b"Content-Length: 5 5"),
        *(b"Content-Length: 55", b"Content-Length:\t8 ", b"Transfer-Encoding: chunked", b"X:"),
    ]
)
heads = st.lists(lines, max_size=5).map(
    lambda some: b"\r\n".join([b"POST /v1/messages HTTP/1.1", *some])
)


@given(heads, heads)
def test_a_head_that_is_told_by_its_rest_is_plain_and_has_that_length(known, other):
    """What a connection does: it reads one head, and takes the next for it where the rests agree."""
    plain, parts = read_plain_head(known), length_apart(known)
    again = length_apart(other)
    if plain is None or parts is None or parts.content_bytes != plain.content_bytes:
        return
    if again is None or again.rest != parts.rest:
        return
    read = read_plain_head(other)
    assert read is not None
    assert read.content_bytes == again.content_bytes
    assert read.target == plain.target
    assert [item for item in read.headers if item[0].lower() != "content-length"] == [
        item for item in plain.headers if item[0].lower() != "content-length"
    ]
