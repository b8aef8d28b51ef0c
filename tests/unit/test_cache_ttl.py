import json
from typing import Any

import pytest

from gateway.transform.cache_ttl import upgrade_cache_ttl

PLAIN = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
FIVE = {"type": "ephemeral", "ttl": "5m"}


def upgraded(document: dict[str, Any]) -> tuple[dict[str, Any], int]:
    upgrade = upgrade_cache_ttl(json.dumps(document).encode())
    return json.loads(upgrade.body), upgrade.upgraded


def marked(control: object = PLAIN, **fields: Any) -> dict[str, Any]:
    return {"type": "text", **fields, "cache_control": control}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def test_the_ttl_is_put_behind_the_last_member_and_nothing_else_is_touched() -> None:
    body = b'{ "model":"m",\n "system" : [ {"text":"\\u00e9 \\"x\\"", "cache_control" : { "type" : "ephemeral" } } ],"n":1e5 }'

    upgrade = upgrade_cache_ttl(body)

    assert upgrade.body == body.replace(b'"ephemeral" }', b'"ephemeral","ttl":"1h" }')
    assert upgrade.upgraded == 1


def test_a_ttl_of_null_is_given_its_value_in_place() -> None:
    body = b'{"system":[{"cache_control":{"ttl": null ,"type":"ephemeral"}}]}'

    upgrade = upgrade_cache_ttl(body)

    assert upgrade.body == body.replace(b"null", b'"1h"')
    assert upgrade.upgraded == 1


@pytest.mark.parametrize(
    "document",
    [
        {"tools": [{"name": "a"}, {"name": "b", "cache_control": PLAIN}]},
        {"system": [marked()]},
        {"messages": [user(marked())]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "input": {}, "cache_control": PLAIN}],
                }
            ]
        },
        {"messages": [user({"type": "tool_result", "content": [marked()]})]},
        {"messages": [user({"type": "tool_result", "content": "ok", "cache_control": PLAIN})]},
        {
            "messages": [
                user(
                    {
                        "type": "tool_result",
                        "content": [{"type": "search_result", "content": [marked()]}],
                    }
                )
            ]
        },
        {
            "messages": [
                user({"type": "document", "source": {"type": "content", "content": [marked()]}})
            ]
        },
        {
            "messages": [
                user({"type": "image", "source": {"type": "base64"}, "cache_control": PLAIN})
            ]
        },
        {"cache_control": PLAIN, "messages": [user({"type": "text", "text": "Hi"})]},
    ],
)
def test_a_breakpoint_is_upgraded_wherever_the_provider_looks_for_one(
    document: dict[str, Any],
) -> None:
    changed, count = upgraded(document)

    assert count == 1
    assert json.dumps(changed) == json.dumps(document).replace(json.dumps(PLAIN), json.dumps(HOUR))


def test_all_breakpoints_of_a_request_are_upgraded_together() -> None:
    changed, count = upgraded(
        {
            "cache_control": PLAIN,
            "messages": [user(marked()), user(marked(), marked(HOUR))],
            "system": [marked()],
            "tools": [marked()],
        }
    )

    assert count == 5
    assert json.dumps(changed).count('"ttl": "1h"') == 6


@pytest.mark.parametrize(
    "control", [HOUR, FIVE, {"type": "ephemeral", "ttl": "24h"}, {"type": "ephemeral", "ttl": 7}]
)
def test_an_explicit_ttl_is_never_touched(control: dict[str, Any]) -> None:
    document = {"system": [marked(control)]}

    assert upgraded(document) == (document, 0)


@pytest.mark.parametrize(
    "control", [FIVE, {"type": "ephemeral", "ttl": "soon"}, {"type": "persistent"}, {}]
)
def test_what_follows_a_shorter_breakpoint_is_left_and_what_precedes_it_is_not(
    control: dict[str, Any],
) -> None:
    changed, count = upgraded(
        {
            "cache_control": PLAIN,
            "messages": [user(marked())],
            "system": [marked(), marked(control), marked()],
            "tools": [marked()],
        }
    )

    assert count == 2
    assert changed["tools"] == [marked(HOUR)]
    assert changed["system"] == [marked(HOUR), marked(control), marked()]
    assert changed["messages"] == [user(marked())]
    assert changed["cache_control"] == PLAIN


def test_the_order_is_that_of_evaluation_whatever_stands_first_in_the_body() -> None:
    changed, count = upgraded({"messages": [user(marked())], "tools": [marked(FIVE)]})

    assert (count, changed["messages"]) == (0, [user(marked())])


def test_a_block_is_evaluated_behind_what_it_holds() -> None:
    outer = {"type": "tool_result", "cache_control": PLAIN, "content": [marked(FIVE)]}

    assert upgraded({"messages": [user(outer)]})[1] == 0
    outer = {"type": "tool_result", "cache_control": FIVE, "content": [marked()]}
    assert upgraded({"messages": [user(outer)]})[1] == 1


def test_a_longer_one_may_come_first() -> None:
    changed, count = upgraded(
        {"tools": [marked(HOUR)], "system": [marked()], "messages": [user(marked(FIVE))]}
    )

    assert (count, changed["system"]) == (1, [marked(HOUR)])


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"messages": [user({"type": "text", "text": "Hi"})]},
        {"messages": [{"role": "user", "content": 'cache_control: {"type":"ephemeral"}'}]},
        {"messages": [user({"type": "text", "text": '{"cache_control":{"type":"ephemeral"}}'})]},
        {"messages": [user({"type": "tool_use", "input": {"cache_control": PLAIN}})]},
        {"tools": [{"input_schema": {"properties": {"cache_control": PLAIN}}}]},
        {"messages": [{"role": "user", "cache_control": PLAIN, "content": "Hi"}]},
        {"metadata": {"cache_control": PLAIN}},
        {"system": [marked(None)]},
        {"system": [marked("ephemeral")]},
        {"system": [marked([PLAIN])]},
        {"system": {"cache_control": PLAIN}},
    ],
)
def test_nothing_is_added_where_the_provider_sees_no_breakpoint(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()

    upgrade = upgrade_cache_ttl(body)

    assert upgrade.body is body
    assert upgrade.upgraded == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"system":[{"cache_control":{"type":"ephemeral"},"cache_control":{"type":"ephemeral","ttl":"5m"}}]}',
        b'{"system":[{"cache_control":{"type":"ephemeral","type":"x"}}]}',
        b'{"system":[],"system":[{"cache_control":{"type":"ephemeral"}}]}',
        b'{"system":[{"cache_control":{"type":"ephemeral"}}],"messages":[{"content":[],"content":[{"cache_control":{}}]}]}',
        b'{"system":[{"cache_control":{"type":"ephemeral"}}]',
        b'["cache_control"]',
        b'"cache_control"',
        b"cache_control",
    ],
)
def test_a_body_that_may_mean_two_things_is_left_alone(body: bytes) -> None:
    assert upgrade_cache_ttl(body).body is body


def test_names_in_escapes_are_read_as_what_they_are() -> None:
    body = b'{"x":"cache_control","system":[{"cache\\u005fcontrol":{"type":"eph\\u0065meral"}}]}'

    upgrade = upgrade_cache_ttl(body)

    assert upgrade.body == body.replace(b'meral"}', b'meral","ttl":"1h"}')
