"""Where bodies have the limit of their answer; on Bedrock by the action and the model's family.

Source: Bedrock's user guide, the inference parameters of each family and of Converse, read in
November 2026. A limit that stands anywhere else is none to the model, which writes on.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from gateway.domain.errors import InvalidRequestError

MAX_TOKENS_MAX = 2**31 - 1
_CONVERSE = (("inferenceConfig", "maxTokens"),)
_CHAT = (("max_tokens",),)
_BY_FAMILY = {
    "anthropic.": (("max_tokens",), ("max_tokens_to_sample",)),
    "amazon.nova": (("inferenceConfig", "maxTokens"), ("inferenceConfig", "max_new_tokens")),
    "amazon.titan": (("textGenerationConfig", "maxTokenCount"),),
    "meta.": (("max_gen_len",),),
    "openai.": (("max_tokens",), ("max_completion_tokens",)),
    "mistral.": _CHAT,
    "cohere.": _CHAT,
    "ai21.": _CHAT,
    "deepseek.": _CHAT,
    "qwen.": _CHAT,
}
BEDROCK_LIMITS = (
    ("max_tokens",),
    ("max_completion_tokens",),
    ("max_tokens_to_sample",),
    ("max_gen_len",),
    ("inferenceConfig", "maxTokens"),
    ("inferenceConfig", "max_new_tokens"),
    ("textGenerationConfig", "maxTokenCount"),
)
# What Converse passes on to the model as it stands there.
MORE_FIELDS = "additionalModelRequestFields"
_family = re.compile(
    r"(?:arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(?:foundation-model|inference-profile)/)?"
    r"(?:[a-z-]{2,10}\.)?"
    rf"({'|'.join(map(re.escape, _BY_FAMILY))})"
).match
# The name of a limit, or one that only a parser can read; a value of "max" is none.
_limit_name = re.compile(rb'"max[^"]|\\u', re.IGNORECASE).search
_LOOKED_THROUGH_BYTES_MAX = 64 * 1024
_MODELS_MAX = 1024


def bedrock_limit(
    document: Mapping[str, Any], model: str, action: str | None, members: Mapping[str, msgspec.Raw]
) -> int | None:
    """The most tokens that the model may write; None where nothing says so that it heeds.

    Beside a limit that it heeds a larger one elsewhere counts: it only makes the hold larger.

    Raises:
        InvalidRequestError: a limit, wherever it stands, is no whole number.
    """
    is_converse = action is not None and action.startswith("converse")
    found = largest(document, BEDROCK_LIMITS, MAX_TOKENS_MAX)
    if found is None:
        return None
    own = _CONVERSE if is_converse else _own_limits(model)
    if largest(document, own, MAX_TOKENS_MAX) is None:
        return None
    if is_converse and MORE_FIELDS in members and _may_hold_a_limit(bytes(members[MORE_FIELDS])):
        return None
    return found


def _may_hold_a_limit(fields: bytes) -> bool:
    return len(fields) > _LOOKED_THROUGH_BYTES_MAX or _limit_name(fields) is not None


def largest(
    document: Mapping[str, Any], paths: tuple[tuple[str, ...], ...], most: int
) -> int | None:
    """The largest of the whole numbers at these paths.

    Raises:
        InvalidRequestError: there is something else at one of them.
    """
    found: int | None = None
    for path in paths:
        value: object = document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            continue
        if type(value) is not int or not 0 <= value <= most:
            raise InvalidRequestError(
                f"`{'.'.join(path)}` must be a whole number from 0 to {most}, without quotes."
            )
        found = value if found is None else max(found, value)
    return found


@lru_cache(_MODELS_MAX)
def _own_limits(model: str) -> tuple[tuple[str, ...], ...]:
    """None at all for a family that we do not know, and for an ARN that does not name one."""
    family = _family(model)
    return () if family is None else _BY_FAMILY[family[1]]
