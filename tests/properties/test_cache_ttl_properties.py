"""Save Mode's transform: only insertions, in an order that the provider takes."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.request import Dialect
from gateway.transform.cache_ttl import upgrade_cache_ttl
from gateway.wire.request_body import read_request

INSERTION = b',"ttl":"1h"'

texts = st.text(alphabet='ab"\\/\n é日{}[],:', max_size=8) | st.sampled_from(
    ["cache_control", '{"cache_control":{"type":"ephemeral"}}', ',"ttl":"1h"']
)
controls = st.fixed_dictionaries(
    {"type": st.sampled_from(["ephemeral"] * 5 + ["other"])},
    optional={"ttl": st.sampled_from([None, None, "1h", "5m", "24h"]), "x": texts},
)
maybe = {"cache_control": controls}
data = st.fixed_dictionaries(
    {"name": texts}, optional={"cache_control": controls, "list": st.lists(texts, max_size=2)}
)
text_blocks = st.fixed_dictionaries({"type": st.just("text"), "text": texts}, optional=maybe)
tool_uses = st.fixed_dictionaries({"type": st.just("tool_use"), "input": data}, optional=maybe)
search_results = st.fixed_dictionaries(
    {
        "type": st.just("search_result"),
        "source": texts,
        "content": st.lists(text_blocks, max_size=2),
    },
    optional=maybe,
)
documents = st.fixed_dictionaries(
    {
        "type": st.just("document"),
        "source": st.fixed_dictionaries(
            {"type": st.just("content"), "content": st.lists(text_blocks, max_size=2) | texts}
        ),
    },
    optional=maybe,
)
tool_results = st.fixed_dictionaries(
    {
        "type": st.just("tool_result"),
        "content": st.lists(text_blocks | search_results, max_size=2) | texts,
    },
    optional=maybe,
)
blocks = text_blocks | tool_uses | tool_results | documents | search_results
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"]),
        "content": texts | st.lists(blocks, max_size=3),
    }
)
tools = st.fixed_dictionaries({"name": texts, "input_schema": data}, optional=maybe)
requests = st.fixed_dictionaries(
    {"model": st.just("claude"), "messages": st.lists(messages, max_size=3)},
    optional={
        "system": texts | st.lists(text_blocks, max_size=3),
        "tools": st.lists(tools, max_size=2),
        "metadata": data,
        **maybe,
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    document = draw(requests)
    names = draw(st.permutations(sorted(document)))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\n")]))
    return json.dumps(
        {name: document[name] for name in names},
        indent=draw(st.sampled_from([None, None, 1])),
        separators=separators,
        ensure_ascii=draw(st.booleans()),
    ).encode()


def without_ttls_of_an_hour(value: Any) -> Any:
    """Drops what may have been added, wherever it stands, and nulls that it may have replaced."""
    if isinstance(value, dict):
        return {
            name: without_ttls_of_an_hour(inner)
            for name, inner in value.items()
            if not (name == "ttl" and inner in (None, "1h"))
        }
    return [without_ttls_of_an_hour(item) for item in value] if isinstance(value, list) else value


def insertions(before: bytes, after: bytes) -> int:
    """Walk both; what differs must be the insertion, or a null that became an hour."""
    count = at = 0
    while before != after:
        while at < len(before) and before[at] == after[at]:
            at += 1
        if after.startswith(b'"1h"', at) and before.startswith(b"null", at):
            before = before[:at] + b'"1h"' + before[at + 4 :]
        else:
            # The walk may have gone into an insertion as far as it looks like what follows.
            start = after.rfind(INSERTION, 0, at + len(INSERTION))
            assert 0 <= start <= at, (before, after)
            before = before[:start] + INSERTION + before[start:]
            at = start
        count += 1
    return count


@settings(max_examples=150)
@given(body=bodies())
def test_the_body_differs_by_as_many_insertions_as_are_reported(body: bytes) -> None:
    upgrade = upgrade_cache_ttl(body)

    assert insertions(body, upgrade.body) == upgrade.upgraded
    assert without_ttls_of_an_hour(json.loads(upgrade.body)) == without_ttls_of_an_hour(
        json.loads(body)
    )


@given(body=bodies())
def test_a_second_upgrade_changes_nothing(body: bytes) -> None:
    once = upgrade_cache_ttl(body)

    assert upgrade_cache_ttl(once.body).body == once.body


@settings(max_examples=150)
@given(body=bodies())
def test_breakpoints_stay_as_many_and_in_an_order_that_the_provider_takes(body: bytes) -> None:
    before = read_request(Dialect.ANTHROPIC_MESSAGES, body).cache_ttls
    after = read_request(Dialect.ANTHROPIC_MESSAGES, upgrade_cache_ttl(body).body).cache_ttls

    assert len(after) == len(before)
    changed = [
        index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new
    ]
    # What was upgraded has nothing before it that is shorter.
    assert all(ttl == "1h" for ttl in after[: max(changed, default=-1) + 1])
    assert all(after[index] == "1h" for index in changed)


@given(body=bodies())
def test_explicit_ttls_stay_where_they_are(body: bytes) -> None:
    after = upgrade_cache_ttl(body).body

    for explicit in ("5m", "24h"):
        name = json.dumps(explicit).encode()
        assert after.count(name) == body.count(name)
