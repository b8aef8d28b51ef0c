"""Gemini and Bedrock, simulated."""

import base64
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.sim.counting import PromptCounts
from gateway.wire.eventstream import encode_frame


def gemini_documents(
    number: int, model: str, counts: PromptCounts, words: list[str]
) -> Iterator[dict[str, Any]]:
    """The chunks of a stream; each has the usage so far, as Google's do."""
    for index, word in enumerate(words, start=1):
        candidate: dict[str, Any] = {
            "content": {"parts": [{"text": word}], "role": "model"},
            "index": 0,
        }
        if index == len(words):
            candidate["finishReason"] = "STOP"
        yield {
            "candidates": [candidate],
            "usageMetadata": _gemini_usage(counts, index),
            "modelVersion": model,
            "responseId": f"sim{number:016d}",
        }


def gemini_document(
    number: int, model: str, counts: PromptCounts, words: list[str]
) -> dict[str, Any]:
    whole = ["".join(words)]
    document = next(gemini_documents(number, model, counts, whole))
    return document | {"usageMetadata": _gemini_usage(counts, len(words))}


def _gemini_usage(counts: PromptCounts, output_tokens: int) -> dict[str, Any]:
    tokens = counts.total_tokens
    return {
        "promptTokenCount": tokens,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": tokens + output_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}],
    }


def gemini_events(documents: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Server-sent events with the line ends that Google's have."""
    for document in documents:
        yield b"data: %s\r\n\r\n" % orjson.dumps(document)


def gemini_array(documents: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """A JSON array, an item at a time: the stream without `alt=sse`."""
    separator = b"["
    for document in documents:
        yield separator + orjson.dumps(document)
        separator = b",\r\n"
    yield b"]"


def _frame(kind: str, document: dict[str, Any]) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, orjson.dumps(document))


def invoke_frames(documents: Iterator[dict[str, Any]], counts: PromptCounts) -> Iterator[bytes]:
    """Anthropic's events inside Bedrock's frames; the last carries the metered counts."""
    output_tokens = 0
    for document in documents:
        event = document
        if document["type"] == "message_stop":
            event = document | {"amazon-bedrock-invocationMetrics": _metrics(counts, output_tokens)}
        elif document["type"] == "message_delta":
            output_tokens = document["usage"]["output_tokens"]
        encoded = base64.b64encode(orjson.dumps(event)).decode()
        yield _frame("chunk", {"bytes": encoded})


def _metrics(counts: PromptCounts, output_tokens: int) -> dict[str, int]:
    return {
        "inputTokenCount": counts.uncached_tokens,
        "outputTokenCount": output_tokens,
        "invocationLatency": 20,
        "firstByteLatency": 10,
        "cacheReadInputTokenCount": counts.cache_read_tokens,
        "cacheWriteInputTokenCount": counts.cache_write_5m_tokens + counts.cache_write_1h_tokens,
    }


def converse_usage(counts: PromptCounts, output_tokens: int) -> dict[str, int]:
    return {
        "inputTokens": counts.total_tokens,
        "outputTokens": output_tokens,
        "totalTokens": counts.total_tokens + output_tokens,
    }


def converse_document(counts: PromptCounts, words: list[str]) -> dict[str, Any]:
    message = {"role": "assistant", "content": [{"text": "".join(words)}]}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": converse_usage(counts, len(words)),
        "metrics": {"latencyMs": 20},
    }


def converse_frames(counts: PromptCounts, words: list[str]) -> Iterator[bytes]:
    yield _frame("messageStart", {"role": "assistant"})
    for word in words:
        yield _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
    yield _frame("contentBlockStop", {"contentBlockIndex": 0})
    yield _frame("messageStop", {"stopReason": "end_turn"})
    metrics = {"latencyMs": 20}
    yield _frame("metadata", {"usage": converse_usage(counts, len(words)), "metrics": metrics})
