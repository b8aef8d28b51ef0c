"""The members of the object that a body is, decoded as late as possible: most are never needed."""

import codecs
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import msgspec
import orjson

from gateway.domain.errors import InvalidRequestError
from gateway.wire.json_spans import JsonSpans, SpanError

Members: TypeAlias = Mapping[str, msgspec.Raw]
"""Values by name, as they stand in the body; of a name that stands there twice, the last."""

MEMBERS_MAX = 1000
"""At the top of a body: work is done for each of them, and no API has a tenth as many."""
# Nearly all of a body: prompts and tools. Nothing that routing or prices go by is in them.
_BULK_NAMES = frozenset({"messages", "tools", "system", "input", "contents", "prompt"})
# What else is often large, or often there.
_COMMON_NAMES = frozenset(
    {
        "model",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "n",
        "stop",
        "stop_sequences",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning",
        "reasoning_effort",
        "thinking",
        "output_config",
        "context_management",
        "cache_control",
        "metadata",
        "user",
        "seed",
        "store",
        "include",
        "instructions",
        "text",
        "service_tier",
        "prompt_cache_key",
        "previous_response_id",
        "mcp_servers",
        "container",
        "encoding_format",
        "dimensions",
        "anthropic_version",
        "anthropic_beta",
        "inferenceConfig",
        "toolConfig",
        "generationConfig",
        "systemInstruction",
        "safetySettings",
    }
)
# A body of this size may be of members alone without that being felt.
_SMALL_BYTES = 256 * 1024
# A value of no name that we know is looked at where it is as small as numbers and words are.
_WORD_BYTES = 1024
_VALUE_BYTES_MAX = 256 * 1024
_UTF8_PIECE_BYTES = 16 * 1024

_ABSENT = msgspec.Raw()
_decode_common = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Common",
        [(name, msgspec.Raw, _ABSENT) for name in sorted(_BULK_NAMES | _COMMON_NAMES)],
    )
).decode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class NotAnObjectError(ValueError):
    """The text is not one JSON object in UTF-8."""


def members_of(body: bytes) -> Members:
    """Split a JSON object into its members: a tenth of the time that building its tree takes.

    All of it is checked to be JSON, and UTF-8. Only the size of numbers is not looked at.

    Raises:
        NotAnObjectError: it is none, or nests too deeply.
        InvalidRequestError: it has more than `MEMBERS_MAX` members.
    """
    try:
        members = _decode(body) if len(body) <= _SMALL_BYTES else _decode_large(body)
        if not body.isascii():
            _check_utf8(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise NotAnObjectError from exc
    if len(members) > MEMBERS_MAX:
        raise _too_many()
    return members


def _decode_large(body: bytes) -> Members:
    """The same without a dictionary of millions, which takes seconds to make.

    Members of other names are stepped over first. What they take up of the body says whether there
    can be many of them, and mostly that there are none.
    """
    found = msgspec.structs.asdict(_decode_common(body))
    common: dict[str, msgspec.Raw] = {
        name: raw for name, raw in found.items() if raw is not _ABSENT
    }
    others_bytes = len(body) - _compact_bytes(common)
    if others_bytes == 0:
        return common
    if others_bytes > _SMALL_BYTES:
        _refuse_many(body)
    return _decode(body)


def _refuse_many(body: bytes) -> None:
    """A walk that ends where there are too many."""
    try:
        for number, _ in enumerate(JsonSpans(body).top_members()):
            if number >= MEMBERS_MAX:
                raise _too_many()
    except SpanError as exc:
        raise NotAnObjectError from exc


def _too_many() -> InvalidRequestError:
    return InvalidRequestError(
        f"The request body has more than {MEMBERS_MAX} fields beside each other: send fewer."
    )


def without_bulk(members: Members, names: Collection[str] = ()) -> dict[str, Any]:
    """The values of members but the prompts and tools: of these names, and of all small ones.

    Raises:
        NotAnObjectError: one of them is a number that no double holds.
        InvalidRequestError: one of these names has a value too large to be what it is for.
    """
    values: dict[str, Any] = {}
    try:
        for name, raw in members.items():
            if name in _BULK_NAMES:
                continue
            if len(raw) > _WORD_BYTES:
                if name not in names:
                    continue
                if len(raw) > _VALUE_BYTES_MAX:
                    raise InvalidRequestError(
                        f"`{name}` is larger than {_VALUE_BYTES_MAX >> 10} KiB."
                    )
            values[name] = orjson.loads(memoryview(raw))
    except orjson.JSONDecodeError as exc:
        raise NotAnObjectError from exc
    return values


def is_each_name_plain_and_once(members: Members, body: bytes) -> bool:
    """Whether the body is what the usual serialisers write; False proves nothing.

    Members without spaces between them, in the shortest form of their names, fill the body exactly
    where nothing else is in it: no second member of a name and no needless escape. With spaces the
    body is written again and compared.
    """
    compact_bytes = _compact_bytes(members)
    if len(body) == compact_bytes:
        return True
    if len(body) != compact_bytes + 2 * len(members) - 1:
        return False
    parts: list[bytes | msgspec.Raw] = []
    for name, value in zip(map(orjson.dumps, members), members.values(), strict=True):
        parts += (b", ", name, b": ", value)
    return b"".join((b"{", *parts[1:], b"}")) == body


def _compact_bytes(members: Members) -> int:
    """What they take up in the shortest form: a colon each, commas between them, two braces."""
    names_bytes = sum(map(len, map(orjson.dumps, members)))
    return names_bytes + sum(map(len, members.values())) + 2 * len(members) + 1


def _check_utf8(body: bytes) -> None:
    """In pieces that stay in the cache, since what they say is not kept."""
    if len(body) <= _UTF8_PIECE_BYTES:
        body.decode()
        return
    decoder, view = _new_utf8_decoder(), memoryview(body)
    for start in range(0, len(body), _UTF8_PIECE_BYTES):
        decoder.decode(view[start : start + _UTF8_PIECE_BYTES])
    decoder.decode(b"", final=True)
