"""Reading a provider's JSON: strictly where it can be, as its clients do where it cannot."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.counts import output_left
from gateway.wire.json_values import count_or_none, object_in

USAGE = b'{"usage":{"output_tokens":7},"x":%b}'


@pytest.mark.parametrize(
    "odd",
    [
        b'"\\ud83d"',
        b'"\\udc00 \\ud83d\\ude00"',
        b'"a\tb"',
        b'"\xff"',
        b"NaN",
        b"-Infinity",
        b"[1e400]",
        b"1e999999999",
        b"9" * 5000,
        b"-" + b"9" * 5000,
    ],
)
def test_what_a_strict_parser_refuses_hides_no_usage(odd: bytes) -> None:
    document = object_in(USAGE % odd)

    assert document is not None
    assert document["usage"] == {"output_tokens": 7}
    assert count_or_none(document, "x") is None
    orjson.dumps(document)


@pytest.mark.parametrize("end", [b"\0", b"\n\0\0\n", b" \0"])
def test_nothings_behind_a_document_are_passed_over(end: bytes) -> None:
    assert object_in(b'{"a":1}' + end) == {"a": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1',
        b'{"a":1}{"b":2}',
        b'{"a":}',
        b"[1e400]",
        b"NaN",
        b"\0",
        b"{]}",
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    ],
)
def test_what_is_no_object_is_none(data: bytes) -> None:
    assert object_in(data) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(document=st.dictionaries(st.text(), json_values, max_size=4))
def test_the_lenient_way_means_the_same(document: dict[str, object]) -> None:
    text = json.dumps(document).encode()

    assert object_in(text) == document
    assert object_in(text + b"\0") == document


@pytest.mark.parametrize(
    ("usage", "left"),
    [
        ({"total": 110, "in": 10, "out": -1}, 100),
        ({"total": 110, "in": 10, "out": "100"}, 100),
        ({"total": 110, "in": 10, "out": 1e300}, 100),
        ({"total": 110, "in": 10, "also_in": 40, "out": -1}, 60),
        # Its own count can be read, or there is none.
        ({"total": 110, "in": 10, "out": 3}, 0),
        ({"total": 110, "in": 10}, 0),
        # There is no telling.
        ({"total": 110, "in": -10, "out": -1}, 0),
        ({"total": 10**12, "in": 10, "out": -1}, 0),
        ({"total": 5, "in": 10, "out": -1}, 0),
        ({"in": 10, "out": -1}, 0),
        ({}, 0),
    ],
)
def test_a_total_tells_the_output_that_does_not_tell_itself(
    usage: dict[str, object], left: int
) -> None:
    inputs = ("in", "also_in")
    assert output_left(usage, totals=("total",), inputs=inputs, outputs=("out",)) == left
