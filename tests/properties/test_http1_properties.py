"""The reader of responses gives the same result for every split of the bytes."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.http1 import FramingError, HeadReader
from gateway.wire.http1_body import Body, body_of

payloads = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.integers(200, 1100).map(lambda size: b"\r\n0\r\n\r\n" * (size // 7) + b"x"),
    ),
    max_size=12,
)
extensions = st.sampled_from([b"", b"", b"", b";a=b", b' ; q="x"'])
trailers = st.sampled_from([b"", b"", b"X-Sum: 1\r\n", b"A: b\r\nC: d\r\n"])
excess = st.sampled_from([b"", b"", b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n"])


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, bytes]:
    """Head and framed body on the wire, what is passed on, the payload, and excess bytes."""
    pieces = draw(payloads)
    framed = b""
    for piece in pieces:
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(piece)
        framed += size + draw(extensions) + b"\r\n" + piece + b"\r\n"
    wire = framed + b"0\r\n" + draw(trailers) + b"\r\n"
    return wire, framed + b"0\r\n\r\n", b"".join(pieces), draw(excess)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def read(pieces: list[bytes]) -> tuple[bytes, bytes, bool, bool]:
    """Payload, forwarded bytes, whether it ended, and whether more came."""
    reader = HeadReader()
    body: Body | None = None
    payload, framed = b"", b""
    for at, piece in enumerate(pieces):
        data = piece
        if body is None:
            found = reader.feed(piece)
            if found is None:
                continue
            body = body_of(found[0])
            data = found[1]
        payload += body.feed(data)
        framed += body.framed
        if body.is_ended:
            has_excess = body.has_excess or at + 1 < len(pieces)
            return payload, framed, True, has_excess
    return payload, framed, False, False


@settings(max_examples=300, deadline=None)
@given(response=chunked(), cuts=st.lists(st.integers(0, 100_000), max_size=30))
def test_a_chunked_response_reads_the_same_however_it_is_split(
    response: tuple[bytes, bytes, bytes, bytes], cuts: list[int]
):
    wire, forwarded, payload, extra = response
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire + extra
    assert read(split(data, cuts)) == (payload, forwarded, True, extra != b"")


@settings(max_examples=60, deadline=None)
@given(response=chunked())
def test_a_chunked_response_reads_the_same_byte_by_byte(
    response: tuple[bytes, bytes, bytes, bytes],
):
    wire, forwarded, payload, _ = response
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire
    pieces = [data[at : at + 1] for at in range(len(data))]
    assert read(pieces) == (payload, forwarded, True, False)


@settings(max_examples=60, deadline=None)
@given(response=chunked(), at=st.integers(0, 100_000))
def test_a_response_that_was_cut_anywhere_is_never_taken_for_ended(
    response: tuple[bytes, bytes, bytes, bytes], at: int
):
    wire, forwarded, payload, _ = response
    cut = at % len(wire)
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire[:cut]
    seen_payload, seen_framed, is_ended, _ = read([data])
    assert not is_ended
    assert payload.startswith(seen_payload)
    assert forwarded.startswith(seen_framed)
    assert seen_framed != forwarded


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.binary(max_size=30), max_size=8))
def test_no_bytes_at_all_do_more_than_break_the_framing(pieces: list[bytes]):
    body_bytes = b"".join(pieces)
    try:
        payload, framed, _, _ = read(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *pieces]
        )
    except FramingError:
        return
    assert len(payload) <= len(body_bytes)
    assert len(framed) <= len(body_bytes) + 5
