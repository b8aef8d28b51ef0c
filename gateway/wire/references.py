"""What a body only refers to: input that the provider fetches, and tools that run there.

A strict hold counts a token for each byte of the body, which says nothing of these. Whatever looks
like one counts: a name in a text makes a hold larger than it need be, and nothing else.
"""

import re
from typing import NamedTuple

from gateway.wire.top_level import NotAnObjectError, members_of

# Calls of tools where the body sets no limit: more than a model makes in one answer.
TOOL_CALLS_UNLIMITED = 100
# Earlier answers and caches, and servers to be asked: what stands there at the top.
_INPUT_FIELDS = frozenset(
    {"previous_response_id", "conversation", "cachedContent", "cached_content", "mcp_servers"}
)
_TOOL_FIELDS = ("tools", "mcp_servers", "web_search_options", "toolConfig", "tool_config")
# Files, wherever they stand.
_FILES = (b'"file_id', b"ileUri", b"ile_uri", b"s3Location")
# Tools of providers, by their type or, at Google, by their name. What they read is input as well.
_TOOLS = (
    b'"web_search',
    b'"web_fetch',
    b'"file_search',
    b'"code_interpreter',
    b'"code_execution',
    b'"image_generation',
    b'"mcp',
    b'"advisor_',
    b'"tool_search',
    b"oogleSearch",
    b"oogle_search",
    b"oogleMaps",
    b"oogle_maps",
    b"rlContext",
    b"rl_context",
    b'"codeExecution',
    b'"fileSearch',
)
# An address of any kind but the data themselves.
_address = re.compile(rb'url"\s*:\s*"(?!data:)').search
# A letter of a name that is written as an escape; Go writes <, > and & so.
_escaped_name = re.compile(rb"\\u00(?:[46][1-9a-fA-F]|[57][0-9aA]|5[fF])").search
_limits = re.compile(rb'"max_uses"\s*:\s*(\d{1,4})').findall
_total_limit = re.compile(rb'"max_tool_calls"\s*:\s*(\d{1,4})').search
_limited_tools = re.compile(rb'"type"\s*:\s*"web_(?:search|fetch)_2').findall


class References(NamedTuple):
    """How much of a call its body leaves open."""

    has_unseen_input: bool
    tool_calls_max: int


_NOTHING = References(has_unseen_input=False, tool_calls_max=0)


def references_of(body: bytes) -> References:
    """Look for all of them: some milliseconds for a megabyte. A form refers to nothing."""
    # From the end, here and below: CPython searches so in a half to a fourth of the time.
    if body.rfind(b"\\u00") >= 0 and _escaped_name(body) is not None:
        return References(has_unseen_input=True, tool_calls_max=TOOL_CALLS_UNLIMITED)
    try:
        members = members_of(body)
    except NotAnObjectError:
        return _NOTHING
    fields = b" ".join(
        b'"%b" %b' % (name.encode(), members[name]) for name in _TOOL_FIELDS if name in members
    )
    tools = [name for name in _TOOLS if name in fields]
    if tools:
        return References(has_unseen_input=True, tool_calls_max=_calls_max(body, tools))
    has_unseen_input = (
        not _INPUT_FIELDS.isdisjoint(members)
        or bytes(members.get("prompt", b"")).startswith(b"{")
        or any(body.rfind(name) >= 0 for name in _FILES)
        or (body.rfind(b'url"') >= 0 and _address(body) is not None)
    )
    return References(has_unseen_input=has_unseen_input, tool_calls_max=0)


def _calls_max(body: bytes, tools: list[bytes]) -> int:
    if (total := _total_limit(body)) is not None:
        return min(int(total[1]), TOOL_CALLS_UNLIMITED)
    limits = [int(limit) for limit in _limits(body)]
    # Only Anthropic's tools of the web have a limit of their own.
    if (
        limits
        and set(tools) <= {b'"web_search', b'"web_fetch'}
        and len(limits) == len(_limited_tools(body))
    ):
        return min(sum(limits), TOOL_CALLS_UNLIMITED)
    return TOOL_CALLS_UNLIMITED
