"""Models that a body names inside of its tools: an adviser, or one that draws.

Source: Anthropic's documentation of the advisor tool, OpenAI's of the image generation tool, and
OpenRouter's of its server tools, which have theirs among the `parameters`; read in November 2026.
"""

import json

from gateway.domain.errors import InvalidRequestError
from gateway.wire.top_level import members_of

# In the type of such a tool, unless that is written in escapes.
_MARKS = (b"advisor_", b"image_generation", b"\\u")
# Looked into as a tree, which takes time and memory; lists of tools are far shorter.
_TOOLS_BYTES_MAX = 1024 * 1024


def models_of_tools(body: bytes) -> tuple[str, ...]:
    """The models that the tools of a JSON object name; of a name twice in a tool, each.

    Raises:
        InvalidRequestError: the tools are too many to look into, or nested too deeply.
    """
    if not any(mark in body for mark in _MARKS) or (raw := members_of(body).get("tools")) is None:
        return ()
    if len(raw) > _TOOLS_BYTES_MAX:
        raise InvalidRequestError(
            f"The tools are larger than the {_TOOLS_BYTES_MAX} bytes that this key may send."
        )
    try:
        # Objects become tuples of their members, and no number is looked at.
        tools = json.loads(bytes(raw), object_pairs_hook=tuple, parse_int=str, parse_float=str)
    except RecursionError:
        raise InvalidRequestError("The tools are nested too deeply.") from None
    found: list[str] = []
    for tool in tools if isinstance(tools, list) else ():
        found += _named(tool)
        for name, value in tool if isinstance(tool, tuple) else ():
            found += _named(value) if name == "parameters" else ()
    return tuple(found)


def _named(holder: object) -> list[str]:
    members = holder if isinstance(holder, tuple) else ()
    return [value for name, value in members if name == "model" and isinstance(value, str)]
