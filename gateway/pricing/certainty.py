"""Whether a name is a model's own, or only begins as one: the price data matches by prefixes."""

import re
from collections.abc import Iterator

from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
)

# What a name has after its model's: dates, versions, aliases that move, then any variant.
_TAIL = re.compile(
    r"(?:[-@]20\d{2}-?\d{2}-?\d{2}|-\d{2}-(?:\d{2}|\d{4})|-\d{3,4}|-\d(?=:)|-v\d+(?:\.\d+)?"
    r"|[-@](?:latest|default|preview|nightly|instruct|native-audio)|-exp-\d{2}-\d{2})*(?::.*)?"
)
# A prefix of the data may end inside of a date or a version.
_BROKEN_OFF = re.compile(r"[-@](?:20\d{2}-?|0)?$")
# Tuned models on Azure: the tail is the id of the tuning.
_TUNED = ".ft-"
_COMPACT_DATE = re.compile(r"-(20\d{2})(\d{2})(\d{2})(?=-|:|$)")
# Longer names that their providers sell at the price of the shorter one.
# Sources: Anthropic's price page of Claude 2; LiteLLM 1.110.2 for the others.
_SOLD_AS = frozenset(
    {
        *("claude-2.0", "claude-2.1"),
        *("deepseek-v4-flash-vision-exp", "gemini-3.1-pro-preview-customtools"),
    }
)


def is_certain(model: ModelInfo, name: str) -> bool:
    """Whether a name that matched this model means it: `gemini-3.8-flash-lite` may not."""
    name = name.lower()
    dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
    is_own = name == model.id.lower() or name in _SOLD_AS
    return is_own or any(_names(model.match, each) for each in (name, dashed))


def _names(clause: MatchLogic, name: str) -> bool:
    if isinstance(clause, ClauseOr):
        return any(_names(each, name) for each in clause.or_)
    if not clause.is_match(name):
        return False
    if isinstance(clause, ClauseAnd):
        # A pattern beside a prefix only takes names out.
        return all(_names(each, name) or isinstance(each, ClauseRegex) for each in clause.and_)
    return all(_is_tail(prefix, name) for prefix in _prefixes(clause))


def _prefixes(clause: MatchLogic) -> Iterator[str]:
    if isinstance(clause, ClauseStartsWith):
        yield clause.starts_with
    if isinstance(clause, ClauseContains):
        yield clause.contains


def _is_tail(prefix: str, name: str) -> bool:
    if prefix.endswith(_TUNED):
        return True
    whole = name.partition(prefix)[2]
    broken_off = prefix[len(_BROKEN_OFF.sub("", prefix)) :]
    return any(_TAIL.fullmatch(tail) is not None for tail in (whole, broken_off + whole))
