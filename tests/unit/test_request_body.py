import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.errors import InvalidRequestError
from gateway.domain.request import Dialect, RequestFacts
from gateway.wire.cache_breakpoints import cache_ttls
from gateway.wire.json_spans import JsonSpans, SpanError
from gateway.wire.request_body import read_request
from gateway.wire.top_level import (
    NotAnObjectError,
    is_each_name_plain_and_once,
    members_of,
    without_bulk,
)

CHAT, MESSAGES = Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES


def chat(**fields: Any) -> RequestFacts:
    return read_request(CHAT, orjson.dumps({"model": "gpt-5", **fields}))


def messages(**fields: Any) -> RequestFacts:
    return read_request(MESSAGES, orjson.dumps({"model": "claude", **fields}))


def why(dialect: Dialect, body: bytes) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        read_request(dialect, body)
    return caught.value.message


# Facts


def test_the_facts_of_a_chat_are_read() -> None:
    facts = chat(
        stream=True,
        max_tokens=10,
        n=3,
        service_tier="flex",
        reasoning_effort="high",
        stream_options={"include_usage": True},
        messages=[{"role": "user", "content": "Hi"}],
    )

    assert facts.model == "gpt-5"
    assert facts.is_streaming
    assert (facts.max_output_tokens, facts.choice_count) == (10, 3)
    assert (facts.service_tier, facts.effort) == ("flex", "high")
    assert facts.usage_was_requested
    assert facts.cache_ttls == ()
    assert facts.also_models == ()


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"models": ["a/b", "c"]}, ("a/b", "c")),
        ({"fallbacks": [{"model": "a"}, "b"]}, ("a", "b")),
        ({"models": ["a"], "fallbacks": ["b"], "route": "fallback"}, ("a", "b")),
        ({"models": []}, ()),
        ({"models": None}, ()),
        ({"models": ["m"] * 16}, ("m",) * 16),
    ],
)
def test_models_that_may_answer_instead_are_read(
    fields: dict[str, Any], names: tuple[str, ...]
) -> None:
    # threats.md, E4: a list of fallbacks must not be held for at the price of its first.
    assert chat(**fields).also_models == names
    assert messages(**fields).also_models == names


@pytest.mark.parametrize(
    "value", ["a", {"model": "a"}, [1], [""], ["x" * 201], [{"name": "a"}], [None], ["m"] * 17]
)
@pytest.mark.parametrize("name", ["models", "fallbacks"])
def test_a_list_of_models_that_cannot_be_read_is_refused(name: str, value: object) -> None:
    body = orjson.dumps({"model": "m", name: value})
    assert f"`{name}` must" in why(CHAT, body)


@pytest.mark.parametrize("name", ["Models", "FALLBACKS", "mod\u0065ls"])
def test_a_list_of_models_under_a_look_alike_name_is_refused(name: str) -> None:
    body = b'{"model":"m","models":["a"],"%s":["b"]}' % name.encode()
    assert "once" in why(CHAT, body) or "twice" in why(CHAT, body)


def test_the_facts_of_a_message_are_read() -> None:
    facts = messages(
        max_tokens=10, speed="fast", inference_geo="us", output_config={"effort": "low"}, n="any"
    )

    assert (facts.max_output_tokens, facts.choice_count) == (10, 1)
    assert (facts.speed, facts.inference_geo, facts.effort) == ("fast", "us", "low")
    assert not facts.is_streaming


def test_the_size_of_the_body_is_a_fact() -> None:
    assert read_request(MESSAGES, b' {"model": "m"}\n').body_bytes == 16


def test_the_larger_of_two_limits_bounds_the_cost_of_a_chat() -> None:
    assert chat(max_tokens=5, max_completion_tokens=9).max_output_tokens == 9
    assert chat(max_tokens=9, max_completion_tokens=5).max_output_tokens == 9
    assert chat(max_completion_tokens=5).max_output_tokens == 5
    assert messages(max_tokens=5, max_completion_tokens=9).max_output_tokens == 9
    assert chat().max_output_tokens is None


def test_a_limit_that_not_every_host_heeds_is_told_apart() -> None:
    assert chat(max_completion_tokens=5).limit_needs_host
    assert not chat(max_completion_tokens=5, max_tokens=5).limit_needs_host
    assert not chat(max_tokens=5).limit_needs_host
    for dialect in (MESSAGES, Dialect.OPENAI_COMPLETIONS):
        facts = read_request(dialect, b'{"model":"m","max_completion_tokens":5}')
        assert (facts.max_output_tokens, facts.limit_needs_host) == (None, False)


def test_null_is_the_same_as_absent() -> None:
    facts = chat(stream=None, max_tokens=None, n=None, service_tier=None, stream_options=None)

    assert replace(facts, body_bytes=0) == replace(chat(), body_bytes=0)


def test_an_odd_effort_is_the_providers_business() -> None:
    assert messages(output_config="high").effort is None
    assert chat(reasoning={"effort": 7}).effort is None


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": "a", "n": 2, "best_of": 5}, 5),
        ({"prompt": "a", "n": 3, "best_of": 1}, 3),
        ({"prompt": ["a", "b"], "n": 3}, 6),
        ({"prompt": [["a"], ["b"], ["c"]], "best_of": 2}, 6),
        ({"prompt": [1, 2, 3], "n": 2}, 2),
        ({"prompt": [], "n": 2}, 2),
    ],
)
def test_every_answer_that_completions_generates_is_counted(
    fields: dict[str, Any], choices: int
) -> None:
    body = orjson.dumps({"model": "gpt-3.5-turbo-instruct", **fields})
    assert read_request(Dialect.OPENAI_COMPLETIONS, body).choice_count == choices


def test_a_response_in_the_background_is_refused() -> None:
    body = orjson.dumps({"model": "gpt-5", "input": "a", "background": True})
    assert "background" in why(Dialect.OPENAI_RESPONSES, body)
    plain = orjson.dumps({"model": "gpt-5", "input": "a", "background": False})
    assert read_request(Dialect.OPENAI_RESPONSES, plain).model == "gpt-5"


# What is refused


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"[]", "object"),
        (b'"model"', "object"),
        (b'{"model":"m"', "not valid JSON"),
        (b'{"model":"m"} x', "not valid JSON"),
        (b'{"model":"m",}', "not valid JSON"),
        (b'{"model":"m","a":01}', "not valid JSON"),
        (b'{"model":"m","a":NaN}', "not valid JSON"),
        (b'{"model":"m","messages":[{"content":"a\x01b"}]}', "not valid JSON"),
        (b'{"model":"m","messages":[{"content":"\xff"}]}', "not valid JSON"),
        (b'{"\xff":1,"model":"m"}', "not valid JSON"),
        (b'{"model":"m","messages":"\\ud800"}', "not valid JSON"),
        (b'{"model":"m","temperature":1e999}', "not valid JSON"),
        (b'\xef\xbb\xbf{"model":"m"}', "byte order mark"),
        ('{"model":"m"}'.encode("utf-16"), "not UTF-8"),
        (b'{"model":"m","messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deeply"),
        (
            b'{"model":"m","x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
            "nested too deeply",
        ),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    assert reason in why(CHAT, body)


def test_the_body_itself_is_not_in_the_reason() -> None:
    assert "secret" not in why(CHAT, b'{"model":"m","messages":"secret" x}')


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": "  "}, "model"),
        ({"model": 7}, "model"),
        ({"model": "m" * 201}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": 10.0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_completion_tokens": 1e3}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"service_tier": 1}, "service_tier"),
        ({"speed": {}}, "speed"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}}, "include_usage"),
    ],
)
def test_a_field_that_the_bill_goes_by_has_one_type(fields: dict[str, Any], name: str) -> None:
    assert f"`{name}`" in why(CHAT, orjson.dumps({"model": "m", **fields}))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","messages":[],"model":"a"}',
        b'{"model": "a", "model": "b"}',
        b'{"max_tokens":1,"model":"m","max_tokens":100000}',
        b'{"model":"m","stream_options":{"include_usage":true},"stream_options":null}',
        b'{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}',
        b'{\n  "model": "m",\n  "n": 1,\n  "n": 9\n}',
    ],
)
def test_a_name_that_stands_there_twice_is_refused(body: bytes) -> None:
    assert "twice" in why(CHAT, body)


def test_spaces_never_hide_a_second_name() -> None:
    """A second member of the length that the usual spaces would have had."""
    body = b'{"model":"m","aa":1,"bb":2,"cc":3,"n":9,"n":1}'
    spaced = json.dumps(json.loads(body)).encode()
    assert len(spaced) - len(body) == 3
    for padded in (body, body[:-1] + b"   }", body.replace(b'"aa"', b'   "aa"')):
        assert "twice" in why(CHAT, padded)


@pytest.mark.parametrize(
    "body",
    [
        b'{"mod\\u0065l":"m"}',
        b'{"model":"m","\\u006e":9}',
        b'{"model":"m","max\\u005ftokens":9}',
        b'{"model":"m","stream_options":{"include\\u005fusage":true}}',
    ],
)
def test_a_name_in_escapes_is_refused(body: bytes) -> None:
    assert "escapes" in why(CHAT, body)


@pytest.mark.parametrize(
    "name", ["Model", "MAX_TOKENS", "max_Tokens", "\uff4e", "\u017ftream", "N"]
)
def test_a_name_in_look_alike_letters_is_refused(name: str) -> None:
    assert "write it" in why(CHAT, json.dumps({"model": "m", name: 1}, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","metadata":{"model":"x","model":"y"}}',
        b'{"model":"m","unknown":1,"unknown":2}',
        b'{"model":"m","messages":[{"model":"a","Model":"b"}]}',
        b'{"model":"m","user":"\\u006e"}',
        '{"model":"m","naïve":"日本"}'.encode(),
        b'{"model":"m","na\\u00efve":1}',
    ],
)
def test_what_the_bill_does_not_go_by_may_be_as_odd_as_it_likes(body: bytes) -> None:
    assert read_request(CHAT, body).model == "m"


def test_bodies_within_the_depth_of_real_tools_are_read() -> None:
    body = b'{"model":"m","tools":' + b"[" * 500 + b"]" * 500 + b"}"

    assert read_request(CHAT, body).model == "m"


# Breakpoints


def marked(ttl: object = None) -> dict[str, Any]:
    control: dict[str, Any] = {"type": "ephemeral"}
    return {"cache_control": control if ttl is None else {**control, "ttl": ttl}}


def test_breakpoints_are_read_in_the_order_of_evaluation() -> None:
    facts = messages(
        cache_control={"type": "ephemeral"},
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "content": [{"type": "text", **marked("1h")}],
                        **marked("5m"),
                    },
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [marked("1h")]},
                    },
                ],
            }
        ],
        system=[{"type": "text", "text": "Be brief.", **marked("5m")}],
        tools=[{"name": "t", **marked("1h")}],
    )

    assert facts.cache_ttls == ("1h", "5m", "1h", "5m", "1h", "5m")


def test_a_ttl_that_is_not_known_counts_as_the_dearest() -> None:
    assert messages(system=[marked("24h"), marked(7)]).cache_ttls == ("1h", "1h")


def test_what_looks_like_a_breakpoint_in_data_is_none() -> None:
    facts = messages(
        tools=[{"input_schema": {"properties": marked()}}],
        messages=[
            {"content": 'say "cache_control":{"type":"ephemeral"}', **marked()},
            {"content": [{"type": "tool_use", "input": marked()}, {"cache_control": "x"}]},
        ],
    )

    assert facts.cache_ttls == ()


def test_a_breakpoint_in_escapes_is_seen() -> None:
    body = b'{"model":"m","system":[{"cache\\u005fcontrol":{"type":"ephemeral"}}]}'

    assert read_request(MESSAGES, body).cache_ttls == ("5m",)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": ["odd", {"content": [marked()]}]},
        {"messages": [{"content": [7, marked()]}]},
        {"messages": [{"content": [{"content": 7, **marked()}]}]},
        {"messages": [{"content": [{"source": [1], **marked()}]}]},
        {"messages": [{"content": [{"source": "a", "content": {"a": 1}, **marked()}]}]},
        {"messages": {"a": 1}, "system": [marked()]},
        {"messages": 7, "tools": {"a": 1}, "system": [marked()]},
    ],
)
def test_a_type_that_nobody_documents_hides_no_breakpoint(fields: dict[str, Any]) -> None:
    assert messages(**fields).cache_ttls == ("5m",)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
names = st.sampled_from(
    [
        "content",
        "source",
        "cache_control",
        "messages",
        "system",
        "tools",
        "type",
        "ttl",
        "model",
        "x",
        "é",
    ]
)
trees = st.recursive(
    leaves | st.just({"type": "ephemeral"}) | st.just({"type": "ephemeral", "ttl": "1h"}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
documents = st.dictionaries(names, trees, max_size=5)


@given(document=documents, indent=st.sampled_from([None, 1]), is_ascii=st.booleans())
def test_both_readers_of_breakpoints_agree(
    document: dict[str, Any], indent: Any, is_ascii: bool
) -> None:
    document = {**document, "model": "m"}
    body = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode()

    assert read_request(MESSAGES, body).cache_ttls == cache_ttls(orjson.loads(body), body)


# The parts


@given(
    document=documents.filter(bool),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
    is_ascii=st.booleans(),
)
def test_what_serialisers_write_is_proven_without_a_walk(
    document: dict[str, Any], separators: tuple[str, str], is_ascii: bool
) -> None:
    body = json.dumps(document, separators=separators, ensure_ascii=is_ascii).encode()
    members = members_of(body)
    has_escaped_name = is_ascii and any(not name.isascii() for name in document)

    assert {name: orjson.loads(bytes(raw)) for name, raw in members.items()} == orjson.loads(body)
    assert is_each_name_plain_and_once(members, body) is not has_escaped_name


@given(
    pairs=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 20).map(str)), min_size=1, max_size=6
    ),
    spaces=st.lists(st.sampled_from(["", "", " ", "  ", "\n"]), min_size=30, max_size=30),
)
def test_a_name_that_stands_there_twice_is_never_proven_once(
    pairs: list[tuple[str, str]], spaces: list[str]
) -> None:
    space = iter(spaces)
    inner = ",".join(
        f'{next(space)}"{name}"{next(space)}:{next(space)}{value}{next(space)}'
        for name, value in pairs
    )
    body = f"{{{inner}}}".encode()

    if is_each_name_plain_and_once(members_of(body), body):
        assert len({name for name, _ in pairs}) == len(pairs)


@given(
    body=st.binary(max_size=20) | st.text(alphabet='{}[]":,\\ae1u0dé ', max_size=14).map(str.encode)
)
def test_whatever_is_taken_for_an_object_is_one_to_the_strict_parser_too(body: bytes) -> None:
    try:
        without_bulk(members_of(body))
    except NotAnObjectError:
        return
    assert isinstance(orjson.loads(body), dict)


@given(document=documents, indent=st.sampled_from([None, 0, 2]), is_ascii=st.booleans())
def test_spans_cut_members_and_items_as_a_parser_does(
    document: dict[str, Any], indent: Any, is_ascii: bool
) -> None:
    body = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode()
    spans = JsonSpans(body)

    def value_of(span: Any) -> Any:
        if spans.is_object(span):
            return {spans.name(member): value_of(member.value) for member in spans.members(span)}
        if spans.is_array(span):
            return [value_of(item) for item in spans.items(span)]
        return json.loads(spans.raw(span))

    assert value_of(spans.top()) == document
    assert {spans.name(m): json.loads(spans.raw(m.value)) for m in spans.top_members()} == document


@pytest.mark.parametrize("depth", [1, 9, 10, 11, 12, 40, 900])
def test_spans_step_over_containers_of_any_depth(depth: int) -> None:
    deep = b'[{"a\\"]":[' * depth + b'"}]"' + b"]}]" * depth
    spans = JsonSpans(b'{"deep":' + deep + b',"n":1}')

    found = spans.find(spans.top(), {"deep", "n"})
    assert spans.raw(found["deep"]) == deep
    assert spans.raw(found["n"]) == b"1"


def test_a_name_that_is_looked_for_and_stands_there_twice_is_an_error() -> None:
    spans = JsonSpans(b'{"a":1,"\\u0061":2,"b":3,"b":4}')

    with pytest.raises(SpanError, match="twice"):
        spans.find(spans.top(), {"a"})
    assert spans.find(spans.top(), {"c"}) == {}


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":[', b'{"a":"x', b'{"a" 1}']
)
def test_spans_of_what_is_no_json_end_in_an_error(body: bytes) -> None:
    spans = JsonSpans(body)

    with pytest.raises(SpanError):
        list(spans.members(spans.top()))
