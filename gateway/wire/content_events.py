"""What the model says in one decoded event or body, by dialect: text, thoughts, function calls."""

import base64
import binascii
from collections.abc import Iterator, Mapping

import orjson

from gateway.domain.request import Dialect
from gateway.wire.content_parts import Delta, PartKind
from gateway.wire.json_values import member, members, text

_Json = Mapping[str, object]

_ANTHROPIC_TEXTS: tuple[tuple[str, PartKind], ...] = (
    ("text", "text"),
    ("thinking", "thinking"),
    ("partial_json", "function"),
)
_CHAT_TEXTS: tuple[tuple[str, PartKind], ...] = (
    ("content", "text"),
    ("refusal", "text"),
    ("text", "text"),
    ("reasoning_content", "thinking"),
    ("reasoning", "thinking"),
)
# OpenAI Responses: events by the kind of part that their `delta` belongs to.
_RESPONSES_DELTAS: dict[object, PartKind] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "thinking",
    "response.reasoning_summary_text.delta": "thinking",
    "response.function_call_arguments.delta": "function",
    "response.mcp_call_arguments.delta": "function",
    "response.custom_tool_call_input.delta": "function",
}
# Where the families on Bedrock that are nobody else's put their text.
_FAMILY_TEXTS = ("generation", "outputText", "completion", "text")


def deltas_of(dialect: Dialect, document: _Json) -> Iterator[Delta]:
    """The deltas of an event, or of a response that came as one document. Never raises."""
    match dialect:
        case Dialect.ANTHROPIC_MESSAGES:
            yield from _anthropic(document)
        case Dialect.OPENAI_CHAT | Dialect.OPENAI_COMPLETIONS:
            yield from _openai_chat(document)
        case Dialect.OPENAI_RESPONSES:
            yield from _responses(document)
        case Dialect.GEMINI:
            yield from _gemini(document)
        case Dialect.BEDROCK:
            yield from _bedrock(document)
        case Dialect.OPENAI_TRANSCRIPTIONS:
            yield from _said(document, (("text", "text"), ("delta", "text")))
        case Dialect.OPENAI_EMBEDDINGS:
            return


def chunk_of(payload: _Json) -> _Json:
    """A model's own event inside a frame of Bedrock's; Converse's frames are events themselves."""
    encoded = payload.get("bytes")
    if not isinstance(encoded, str):
        return payload
    try:
        document = orjson.loads(base64.b64decode(encoded))
    except (orjson.JSONDecodeError, binascii.Error, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _anthropic(document: _Json) -> Iterator[Delta]:
    slot = _number(document, "index")
    if block := member(document, "content_block"):
        yield from _anthropic_block(block, slot, is_whole=False)
    yield from _said(member(document, "delta"), _ANTHROPIC_TEXTS, slot=slot)
    for number, block in enumerate(members(document, "content")):
        yield from _anthropic_block(block, number, is_whole=True)


def _anthropic_block(block: _Json, slot: int, *, is_whole: bool) -> Iterator[Delta]:
    """The input of a block that only opens is empty, and comes in deltas."""
    yield from _said(block, _ANTHROPIC_TEXTS, slot=slot)
    if (name := text(block, "name")) is not None:
        arguments = _json(block.get("input")) if is_whole else ""
        yield Delta("function", arguments, slot, name=name, call_id=text(block, "id"))


def _openai_chat(document: _Json) -> Iterator[Delta]:
    for number, choice in enumerate(members(document, "choices")):
        index = _number(choice, "index", number)
        for holder in (choice, member(choice, "delta"), member(choice, "message")):
            yield from _said(holder, _CHAT_TEXTS, choice=index)
            for place, call in enumerate(members(holder, "tool_calls")):
                function = member(call, "function") or member(call, "custom")
                yield Delta(
                    "function",
                    _string(function, "arguments") or _string(function, "input"),
                    _number(call, "index", place),
                    choice=index,
                    name=text(function, "name"),
                    call_id=text(call, "id"),
                )


def _responses(document: _Json) -> Iterator[Delta]:
    place = _number(document, "output_index")
    kind = _RESPONSES_DELTAS.get(document.get("type"))
    if kind is not None:
        slot = (place, _number(document, "content_index"), _number(document, "summary_index"))
        yield Delta(kind, _string(document, "delta"), place if kind == "function" else slot)
    if document.get("type") == "response.output_item.added":
        item = member(document, "item")
        if (name := text(item, "name")) is not None:
            yield Delta("function", "", place, name=name, call_id=text(item, "call_id"))
    for number, item in enumerate(members(document, "output")):
        yield from _responses_item(item, number)


def _responses_item(item: _Json, place: int) -> Iterator[Delta]:
    kind: PartKind = "thinking" if item.get("type") == "reasoning" else "text"
    holders = (*members(item, "summary"), *members(item, "content"))
    for number, holder in enumerate(holders):
        yield from _said(holder, (("text", kind), ("refusal", kind)), slot=(place, number))
    if (name := text(item, "name")) is not None:
        arguments = _string(item, "arguments") or _string(item, "input")
        yield Delta("function", arguments, place, name=name, call_id=text(item, "call_id"))


def _gemini(document: _Json) -> Iterator[Delta]:
    for number, candidate in enumerate(members(document, "candidates")):
        index = _number(candidate, "index", number)
        for part in members(member(candidate, "content"), "parts"):
            kind: PartKind = "thinking" if part.get("thought") is True else "text"
            yield from _said(part, (("text", kind),), choice=index)
            yield from _said(member(part, "executableCode"), (("code", "text"),), choice=index)
            if call := member(part, "functionCall"):
                # A call comes whole, and two that say the same are two calls.
                arguments, name = _json(call.get("args")), text(call, "name")
                yield Delta("function", arguments, None, index, name, text(call, "id"))


def _bedrock(document: _Json) -> Iterator[Delta]:
    if document.get("type") is not None or "choices" in document:
        yield from _anthropic(document)
        yield from _openai_chat(document)
        return
    slot = _number(document, "contentBlockIndex")
    for holder in (document, *_nova_events(document)):
        if tool := member(member(holder, "start"), "toolUse"):
            yield _converse_call(tool, slot, "")
        yield from _converse_block(member(holder, "delta"), slot, is_whole=False)
    content = members(member(member(document, "output"), "message"), "content")
    for number, block in enumerate(content):
        yield from _converse_block(block, number, is_whole=True)
    for holder in (document, *members(document, "results"), *members(document, "outputs")):
        yield from _said(holder, tuple((name, "text") for name in _FAMILY_TEXTS))


def _nova_events(document: _Json) -> Iterator[_Json]:
    """Nova's own stream: Converse's events, each under its name."""
    for name in ("contentBlockStart", "contentBlockDelta"):
        yield member(document, name)


def _converse_block(block: _Json, slot: int, *, is_whole: bool) -> Iterator[Delta]:
    yield from _said(block, (("text", "text"),), slot=slot)
    reasoning = member(block, "reasoningContent")
    for holder in (reasoning, member(reasoning, "reasoningText")):
        yield from _said(holder, (("text", "thinking"),), slot=slot)
    if tool := member(block, "toolUse"):
        is_text = isinstance(tool.get("input"), str) and not is_whole
        arguments = _string(tool, "input") if is_text else _json(tool.get("input"))
        yield _converse_call(tool, slot, arguments)


def _converse_call(tool: _Json, slot: int, arguments: str) -> Delta:
    name, call_id = text(tool, "name"), text(tool, "toolUseId")
    return Delta("function", arguments, slot, name=name, call_id=call_id)


def _said(
    holder: _Json, names: tuple[tuple[str, PartKind], ...], *, slot: object = 0, choice: int = 0
) -> Iterator[Delta]:
    for name, kind in names:
        if said := _string(holder, name):
            yield Delta(kind, said, slot, choice)


def _string(holder: _Json, name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def _number(holder: _Json, name: str, other: int = 0) -> int:
    value = holder.get(name)
    return value if type(value) is int else other


def _json(value: object) -> str:
    return "" if value is None else orjson.dumps(value).decode()
