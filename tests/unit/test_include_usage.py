import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transform.include_usage import (
    USAGE_CHUNK_BYTES_MAX,
    UsageChunkFilter,
    _is_another,
    add_include_usage,
)
from gateway.transform.model_prefix import strip_model_prefix

CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
NULL_CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
DONE = b"data: [DONE]\n\n"
AZURE_FIRST = (
    b'data: {"choices":[],"created":0,"id":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
)
ERROR = b'event: error\ndata: {"error":{"type":"server_error","message":"overloaded"}}\n\n'
OPENROUTER_LAST = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9}}\n\n'
COMMENT = b": OPENROUTER PROCESSING\n\n"
TELLS = (
    b'data: {"id":"c","choices":[{"delta":{"content":"say \\"choices\\":[],\\"usage\\":{}"}}]}\n\n'
)


def through(pieces: list[bytes]) -> bytes:
    held_back = UsageChunkFilter()
    return b"".join([*(held_back.feed(piece) for piece in pieces), held_back.finish()])


# The request


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"model":"m","stream":true}',
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b' {\n "model" : "m"\n}\n',
            b' {\n "model" : "m","stream_options":{"include_usage":true}\n}\n',
        ),
        (
            b'{"stream_options": null, "model":"m"}',
            b'{"stream_options": {"include_usage":true}, "model":"m"}',
        ),
        (
            b'{"stream_options":{},"model":"m"}',
            b'{"stream_options":{"include_usage":true},"model":"m"}',
        ),
        (
            b'{"stream_options":{ },"model":"m"}',
            b'{"stream_options":{"include_usage":true },"model":"m"}',
        ),
        (
            b'{"stream_options":{"include_usage" : false},"model":"m"}',
            b'{"stream_options":{"include_usage" : true},"model":"m"}',
        ),
        (
            b'{"stream_options":{"include_usage":null,"x":[1]},"model":"m"}',
            b'{"stream_options":{"include_usage":true,"x":[1]},"model":"m"}',
        ),
        (
            b'{"stream_options":{"include_obfuscation":false },"model":"m"}',
            b'{"stream_options":{"include_obfuscation":false,"include_usage":true },"model":"m"}',
        ),
        (
            b'{"messages":[{"stream_options":{"include_usage":false}}],"model":"m"}',
            b'{"messages":[{"stream_options":{"include_usage":false}}],"model":"m","stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_usage_is_asked_for_by_a_splice(body: bytes, expected: bytes) -> None:
    assert add_include_usage(body) == expected
    assert json.loads(expected)["stream_options"]["include_usage"] is True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
options = st.none() | st.dictionaries(
    st.sampled_from(["include_usage", "include_obfuscation", "x"]),
    st.none() | st.just(False),
    max_size=3,
)


@given(
    members=st.dictionaries(st.text(max_size=8), json_values, max_size=5),
    options=st.sampled_from(["absent"]) | options,
    indent=st.sampled_from([None, 1, "\t"]),
    is_ascii=st.booleans(),
)
def test_a_body_that_asks_means_the_same_but_for_the_question(
    members: dict[str, Any], options: object, indent: Any, is_ascii: bool
) -> None:
    document = {"model": "m", **members}
    document.pop("stream_options", None)
    if options != "absent":
        document["stream_options"] = options
    body = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode(
        "utf-8", "surrogatepass"
    )

    changed = json.loads(add_include_usage(body))

    before = document.pop("stream_options", None) or {}
    after = changed.pop("stream_options")
    assert after == {**before, "include_usage": True}
    assert changed == json.loads(json.dumps(document))


@pytest.mark.parametrize(
    ("body", "prefix", "expected"),
    [
        (b'{"model":"openrouter/a/b","n":1}', 11, b'{"model":"a/b","n":1}'),
        (
            b'{"messages":[{"model":"groq/x"}], "model" : "groq/llama" }',
            5,
            b'{"messages":[{"model":"groq/x"}], "model" : "llama" }',
        ),
        (b'{"model":"openrouter\\/a\\/b","x":"\\u00e9"}', 11, b'{"model":"a/b","x":"\\u00e9"}'),
        (b'{"model":"openrouter/a\\/b"}', 11, b'{"model":"a\\/b"}'),
    ],
)
def test_a_prefix_is_cut_out_of_the_model_alone(body: bytes, prefix: int, expected: bytes) -> None:
    assert strip_model_prefix(body, prefix) == expected


@pytest.mark.parametrize("text_bytes", [4000, *range(4040, 4100, 3), 9000])
@pytest.mark.parametrize("text", [b"x", b"\\\\", b'\\"'])
def test_a_prefix_is_cut_wherever_the_model_stands(text: bytes, text_bytes: int) -> None:
    before = b'{"system":"' + text * (text_bytes // len(text)) + b'","n":12,"model":"'

    assert strip_model_prefix(before + b'groq/llama"}', 5) == before + b'llama"}'


def test_without_a_prefix_the_body_is_the_same_object() -> None:
    body = b'{"model":"m"}'

    assert strip_model_prefix(body, 0) is body


# The answer


def test_exactly_the_usage_chunk_is_held_back() -> None:
    assert through([CHUNK, CHUNK, USAGE, DONE]) == CHUNK + CHUNK + DONE


@pytest.mark.parametrize(
    "event",
    [
        *(CHUNK, NULL_CHUNK, DONE, AZURE_FIRST, ERROR, OPENROUTER_LAST, COMMENT, TELLS),
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[],"x_groq":{"usage":{"total_tokens":1}}}\n\n',
        b'data: {"usage":{"total_tokens":1}}\n\n',
        b'data: {"choices":null,"usage":{"total_tokens":1}}\n\n',
        b'data: {"choices":[],"usage":{broken}\n\n',
        b'data: [{"choices":[],"usage":{}}]\n\n',
        b'event: x\nnodata: {"choices":[],"usage":{"a":1}}\n\n',
    ],
)
def test_every_other_event_passes_at_once(event: bytes) -> None:
    held_back = UsageChunkFilter()

    assert held_back.feed(event) == event
    assert held_back.feed(USAGE) == b""
    assert held_back.finish() == b""


def test_a_piece_of_whole_events_passes_as_the_same_object() -> None:
    held_back = UsageChunkFilter()
    for piece in (CHUNK, NULL_CHUNK * 3, CHUNK.replace(b"\n", b"\r\n"), COMMENT + DONE):
        assert held_back.feed(piece) is piece


@pytest.mark.parametrize(
    "usage",
    [
        USAGE,
        USAGE.replace(b"\n", b"\r\n"),
        USAGE.replace(b"\n", b"\r"),
        USAGE.replace(b"data: ", b"data:"),
        USAGE.replace(b'"usage":{', b'"usage" : {').replace(b'"choices":[]', b'"choices": [ ]'),
        b'data: {"usage":{"total_tokens":1},"choices":[]}\n\n',
        b'id: 7\nevent: chunk\ndata: {"choices":[],\ndata: "usage":{"total_tokens":1}}\n\n',
    ],
)
def test_the_chunk_is_known_in_every_way_to_write_it(usage: bytes) -> None:
    whole = CHUNK + usage + DONE
    assert through([whole]) == CHUNK + DONE
    for cut in range(len(whole)):
        assert through([whole[:cut], whole[cut:]]) == CHUNK + DONE
    assert through([bytes([byte]) for byte in whole]) == CHUNK + DONE


def test_a_chunk_that_the_end_of_the_stream_ends_is_held_back() -> None:
    assert through([CHUNK, USAGE[:-1]]) == CHUNK
    assert through([CHUNK, USAGE[:-2]]) == CHUNK


def test_an_event_that_the_end_of_the_stream_ends_passes() -> None:
    assert through([CHUNK, b'data: {"id":"c","cho']) == CHUNK + b'data: {"id":"c","cho'


def test_the_beginning_of_an_event_with_a_choice_passes_at_once() -> None:
    held_back = UsageChunkFilter()
    beginning = CHUNK[: CHUNK.index(b'"delta"')]

    assert held_back.feed(beginning) == beginning
    assert held_back.feed(CHUNK[len(beginning) : -1]) == CHUNK[len(beginning) : -1]
    assert held_back.feed(b"\n") == b"\n"
    assert held_back.feed(USAGE) == b""


def test_a_beginning_that_may_become_the_chunk_waits_behind_what_is_whole() -> None:
    held_back = UsageChunkFilter()

    assert held_back.feed(CHUNK + USAGE[:20]) == CHUNK
    assert held_back.feed(USAGE[20:40]) == b""
    assert held_back.feed(USAGE[40:] + DONE) == DONE


def test_a_document_instead_of_events_passes_at_once() -> None:
    held_back = UsageChunkFilter()
    document = b'{"id":"c","choices":[],"usage":{"total_tokens":1}}'

    assert held_back.feed(document[:10]) + held_back.feed(document[10:]) == document


def test_what_is_held_is_bounded() -> None:
    held_back = UsageChunkFilter()
    long = b'data: {"x":"' + b"a" * USAGE_CHUNK_BYTES_MAX

    assert held_back.feed(long) == long
    assert held_back.feed(b'"}\n\n' + USAGE) == b'"}\n\n'


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"\r", b"\n\n\n"])
def test_a_piece_of_empty_lines_begins_no_event(blank: bytes) -> None:
    assert through([blank, USAGE, blank, CHUNK]) == blank + blank + CHUNK
    assert through([CHUNK + blank, USAGE]) == CHUNK + blank


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b"\r", b"\n\r\r"])
def test_lines_before_the_data_take_time_in_proportion(ending: bytes) -> None:
    """A CRLF can be read as one end of a line or as two: 23 such lines took ten seconds."""
    lines = [b": x" + ending] * 10_000
    hundreds = [b"".join(lines[:100])] * 100

    started = time.perf_counter()
    assert not _is_another(b"".join(lines))
    assert through(hundreds) == b"".join(lines)
    assert time.perf_counter() - started < 2


# As `_is_another` was, which tried every combination.
_was_another = re.compile(
    rb"(?:(?!data)[^\r\n]*[\r\n]+)*data: ?(?:[^\s{]|\{\s*"
    rb'(?:"[^"\\]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-+.0-9a-zA-Z]+)\s*,\s*)*'
    rb'"choices"\s*:\s*\[\s*[^\]\s])'
).match


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from([b"", b": x", b"id: 7", b"dat", b"data", b"data:", b" data: {"]),
            st.sampled_from([b"\r", b"\n", b"\r\n", b""]),
        ),
        max_size=7,
    ),
    data=st.sampled_from([b"", b"data: {", b"data: 7", CHUNK, USAGE, NULL_CHUNK, b"event: x"]),
)
def test_lines_of_any_ends_are_told_apart_as_before(
    lines: list[tuple[bytes, bytes]], data: bytes
) -> None:
    beginning = b"".join(line + ending for line, ending in lines) + data

    assert bool(_is_another(beginning)) is bool(_was_another(beginning))


EVENTS = [
    CHUNK,
    NULL_CHUNK,
    AZURE_FIRST,
    ERROR,
    OPENROUTER_LAST,
    COMMENT,
    TELLS,
    b"\n",
    b"junk\n\n",
]


@given(
    events=st.lists(st.sampled_from([*EVENTS, USAGE]), max_size=6),
    ending=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    tail=st.sampled_from([b"", DONE, CHUNK[:30], b"data: "]),
    data=st.data(),
)
def test_whatever_the_split_all_but_the_chunk_passes_byte_for_byte(
    events: list[bytes], ending: bytes, tail: bytes, data: st.DataObject
) -> None:
    whole = b"".join([*events, tail]).replace(b"\n", ending)
    expected = b"".join([*(e for e in events if e is not USAGE), tail]).replace(b"\n", ending)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert through(pieces) == expected


@given(
    pieces=st.lists(
        st.binary(max_size=12) | st.sampled_from([b"data", b": {", b"\n\n", b"\r"]), max_size=30
    )
)
def test_bytes_that_are_no_events_pass_byte_for_byte(pieces: list[bytes]) -> None:
    assert through(pieces) == b"".join(pieces)
