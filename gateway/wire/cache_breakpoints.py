"""The cache breakpoints of a request, in the order in which Anthropic evaluates them."""

from typing import Any

CACHE_CONTROL = "cache_control"
# A tool result holds blocks, a search result inside it holds blocks again; then it ends.
CONTENT_NESTING_MAX = 4

_FIVE_MINUTES, _ONE_HOUR = "5m", "1h"


def cache_ttls(document: dict[str, Any], body: bytes) -> tuple[str, ...]:
    """The TTL of each breakpoint: tools, system, messages, and the automatic one last.

    A TTL that we do not know counts as one hour: the dearest that a write can cost.
    """
    # The second covers a name that is written with escapes.
    if b"cache_control" not in body and b"\\u00" not in body:
        return ()
    controls: list[dict[str, Any]] = []
    if isinstance(tools := document.get("tools"), list):
        for tool in tools:
            if isinstance(tool, dict):
                _collect_own(tool, controls)
    _collect(document.get("system"), controls, nesting=1)
    if isinstance(messages := document.get("messages"), list):
        for message in messages:
            if isinstance(message, dict):
                _collect(message.get("content"), controls, nesting=1)
    _collect_own(document, controls)
    return tuple(
        _FIVE_MINUTES if control.get("ttl") in (None, _FIVE_MINUTES) else _ONE_HOUR
        for control in controls
    )


def _collect(blocks: object, controls: list[dict[str, Any]], *, nesting: int) -> None:
    if type(blocks) is not list or nesting > CONTENT_NESTING_MAX:
        return
    for block in blocks:
        if type(block) is not dict:
            continue
        # What a block holds ends before the block does.
        if type(content := block.get("content")) is list:
            _collect(content, controls, nesting=nesting + 1)
        if type(source := block.get("source")) is dict:
            _collect(source.get("content"), controls, nesting=nesting + 1)
        _collect_own(block, controls)


def _collect_own(holder: dict[str, Any], controls: list[dict[str, Any]]) -> None:
    control = holder.get(CACHE_CONTROL)
    if type(control) is dict:
        controls.append(control)
