"""Models inside of tools: found in every spelling, and nothing else taken for one."""

import contextlib
import json

import pytest

from gateway.domain.errors import InvalidRequestError
from gateway.wire.tool_models import models_of_tools
from gateway.wire.top_level import NotAnObjectError


def named(*tools: object) -> tuple[str, ...]:
    return models_of_tools(json.dumps({"model": "m", "tools": tools}).encode())


def test_an_adviser_and_an_artist_name_a_model() -> None:
    adviser = {"type": "advisor_20260301", "model": "a"}
    artist = {"type": "image_generation", "model": "b"}
    other = {"type": "openrouter:image_generation", "parameters": {"model": "c"}}

    assert named(adviser, artist, other) == ("a", "b", "c")


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "image_generation"},
        {"type": "image_generation", "model": None},
        {"type": "advisor_1", "model": {"model": "x"}},
        {"type": "function", "parameters": {"properties": {"model": {"default": "x"}}}},
        {"type": "function", "parameters": {"properties": {"model": "x"}}},
        "advisor_",
        [{"type": "advisor_1", "model": "x"}],
        None,
    ],
)
def test_what_names_none_is_none(tool: object) -> None:
    assert named(tool, {"type": "image_generation"}) == ()


@pytest.mark.parametrize("tools", [b"null", b"{}", b'"image_generation"', b"5", b"[]"])
def test_tools_that_are_no_list_name_none(tools: bytes) -> None:
    assert models_of_tools(b'{"x":"advisor_","tools":%b}' % tools) == ()


def test_a_number_that_no_integer_holds_is_not_looked_at() -> None:
    body = b'{"tools":[{"type":"advisor_1","max_uses":%b,"k":1e999,"model":"a"}]}' % (b"9" * 5000)

    assert models_of_tools(body) == ("a",)


def test_of_a_name_twice_both_count() -> None:
    body = b'{"tools":[{"type":"function","model":"a","type":"advisor_1","mod\\u0065l":"b"}]}'

    assert models_of_tools(body) == ("a", "b")


def test_tools_are_looked_into_within_a_bound() -> None:
    body = b'{"tools":[{"type":"advisor_1","x":"%b"}]}' % (b"x" * (1 << 20))

    with pytest.raises(InvalidRequestError, match="larger"):
        models_of_tools(body)


def test_depth_never_hides_a_model() -> None:
    for depth in range(700, 1100, 10):
        body = b'{"tools":[{"type":"advisor_1","model":"a","x":%b}]}' % (
            b"[" * depth + b"]" * depth
        )
        with contextlib.suppress(InvalidRequestError, NotAnObjectError):
            assert models_of_tools(body) == ("a",)
