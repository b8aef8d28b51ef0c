"""Anthropic Messages, simulated: usage, message, events."""

from collections.abc import Iterator
from typing import Any

from gateway.sim.answers import named_event
from gateway.sim.counting import PromptCounts


def anthropic_usage(counts: PromptCounts, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": counts.uncached_tokens,
        "cache_read_input_tokens": counts.cache_read_tokens,
        "cache_creation_input_tokens": counts.cache_write_5m_tokens + counts.cache_write_1h_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": counts.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": counts.cache_write_1h_tokens,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def anthropic_message(number: int, model: str, usage: dict[str, Any]) -> dict[str, Any]:
    """The message as a stream begins with it: empty, its stop reason open."""
    return {
        "id": f"msg_sim{number:016d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def whole_message(
    message: dict[str, Any], words: list[str], usage: dict[str, Any]
) -> dict[str, Any]:
    return message | {
        "content": [{"type": "text", "text": "".join(words)}],
        "stop_reason": "end_turn",
        "usage": usage,
    }


def anthropic_documents(message: dict[str, Any], words: list[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream, each as its data; the type is in it."""
    yield {"type": "message_start", "message": message}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "ping"}
    for word in words:
        delta = {"type": "text_delta", "text": word}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    usage = message["usage"] | {"output_tokens": len(words)}
    usage = {name: usage[name] for name in usage if name.endswith("_tokens")}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": usage}
    yield {"type": "message_stop"}


def anthropic_events(message: dict[str, Any], words: list[str]) -> Iterator[bytes]:
    for document in anthropic_documents(message, words):
        yield named_event(document["type"], document)
