"""Counts of the simulated provider: prompt tokens, cache breakpoints, and the words it answers."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import orjson

_CHARACTERS_PER_TOKEN = 4
_WORDS_MAX = 40
_PROMPTS_MAX = 1000
_ANSWER = (
    "This is the simulated provider of your gateway: no real model was asked and nobody will "
    "bill you. Set a provider credential to reach a real one. "
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCounts:
    """Disjoint counts of a prompt."""

    uncached_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    prefix: bytes = b""
    """Digest of what stands up to the last breakpoint; empty without one."""

    @property
    def total_tokens(self) -> int:
        return (
            self.uncached_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )


class CacheMemory:
    """Remembers prefixes, so that a repeated one is read instead of written."""

    def __init__(self) -> None:
        self._prefixes: dict[bytes, None] = {}

    def recall(self, counts: PromptCounts) -> PromptCounts:
        if not counts.prefix:
            return counts
        written = counts.cache_write_5m_tokens + counts.cache_write_1h_tokens
        if counts.prefix in self._prefixes:
            return replace(
                counts, cache_read_tokens=written, cache_write_5m_tokens=0, cache_write_1h_tokens=0
            )
        self._prefixes[counts.prefix] = None
        if len(self._prefixes) > _PROMPTS_MAX:
            del self._prefixes[next(iter(self._prefixes))]
        return counts


def count_prompt(body: dict[str, Any]) -> PromptCounts:
    """Tokens of tools, system and messages; what stands before a breakpoint is a cache write."""
    parts = [*_list(body.get("tools")), *_list(body.get("system")), *_list(body.get("messages"))]
    texts = [orjson.dumps(part, option=orjson.OPT_SORT_KEYS) for part in parts]
    tokens = [max(1, len(text) // _CHARACTERS_PER_TOKEN) for text in texts]
    marked = [index for index, text in enumerate(texts) if b'"cache_control"' in text]
    if not marked:
        return PromptCounts(uncached_tokens=sum(tokens))
    last = marked[-1] + 1
    cached = sum(tokens[:last])
    is_hour = b'"1h"' in texts[marked[-1]]
    return PromptCounts(
        uncached_tokens=max(1, sum(tokens[last:])),
        cache_write_5m_tokens=0 if is_hour else cached,
        cache_write_1h_tokens=cached if is_hour else 0,
        prefix=hashlib.sha256(b"".join(texts[:last])).digest(),
    )


def words_for(body: dict[str, Any], tokens_max: int) -> list[str]:
    """The answer, one word a token: at most `tokens_max` of them."""
    opening = f"You wrote {len(_list(body.get('messages')))} message(s) to {body['model']}. "
    words = [f"{word} " for word in (opening + _ANSWER).split()]
    return words[: max(1, min(tokens_max, _WORDS_MAX))]


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
