"""OpenAI's dialects, simulated: chat, completions, embeddings, responses, transcriptions."""

from collections.abc import Iterator
from typing import Any

from gateway.sim.answers import data_event, named_event
from gateway.sim.counting import PromptCounts

CREATED = 1_760_000_000
_DONE = b"data: [DONE]\n\n"
_DIMENSIONS = 8


def chat_usage(counts: PromptCounts, output_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.total_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": counts.total_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def chat_head(number: int, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-sim{number:016d}",
        "created": CREATED,
        "model": model,
        "service_tier": "default",
    }


def chat_completion(
    head: dict[str, Any], words: list[str], usage: dict[str, Any]
) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(words), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return head | {"object": "chat.completion", "choices": [choice], "usage": usage}


def chat_events(
    head: dict[str, Any], words: list[str], usage: dict[str, Any] | None
) -> Iterator[bytes]:
    """`usage` None where the client did not ask for it."""
    head = head | {"object": "chat.completion.chunk"}
    # With include_usage each chunk has a usage field, null but for the last.
    extra: dict[str, Any] = {} if usage is None else {"usage": None}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data_event(head | {"choices": [choice]} | extra)

    yield chunk({"role": "assistant", "content": ""})
    for word in words:
        yield chunk({"content": word})
    yield chunk({}, "stop")
    if usage is not None:
        yield data_event(head | {"choices": [], "usage": usage})
    yield _DONE


def completion(number: int, model: str, words: list[str], usage: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "text": "".join(words), "logprobs": None, "finish_reason": "stop"}
    return _completion_head(number, model) | {"choices": [choice], "usage": usage}


def completion_events(
    number: int, model: str, words: list[str], usage: dict[str, Any] | None
) -> Iterator[bytes]:
    head = _completion_head(number, model)
    for index, word in enumerate(words):
        finish = "stop" if index == len(words) - 1 else None
        choice = {"index": 0, "text": word, "logprobs": None, "finish_reason": finish}
        yield data_event(head | {"choices": [choice]})
    if usage is not None:
        yield data_event(head | {"choices": [], "usage": usage})
    yield _DONE


def _completion_head(number: int, model: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-sim{number:016d}",
        "object": "text_completion",
        "created": CREATED,
        "model": model,
    }


def embeddings(model: str, count: int, prompt_tokens: int) -> dict[str, Any]:
    vectors = [
        {"object": "embedding", "index": index, "embedding": [1 / (index + 1)] * _DIMENSIONS}
        for index in range(count)
    ]
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {"object": "list", "data": vectors, "model": model, "usage": usage}


def response_usage(counts: PromptCounts, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": counts.total_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.total_tokens + output_tokens,
    }


def response(
    number: int, model: str, words: list[str], usage: dict[str, Any] | None
) -> dict[str, Any]:
    """A response; without usage it is one that has only begun."""
    is_done = usage is not None
    return {
        "id": f"resp_sim{number:016d}",
        "object": "response",
        "created_at": CREATED,
        "status": "completed" if is_done else "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [_message_item(number, words)] if is_done else [],
        "parallel_tool_calls": True,
        "service_tier": "default" if is_done else "auto",
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage,
    }


def _message_item(number: int, words: list[str]) -> dict[str, Any]:
    text = {"type": "output_text", "text": "".join(words), "annotations": []}
    return {
        "type": "message",
        "id": f"msg_sim{number:016d}",
        "status": "completed",
        "role": "assistant",
        "content": [text],
    }


def response_events(
    number: int, model: str, words: list[str], usage: dict[str, Any]
) -> Iterator[bytes]:
    item = _message_item(number, words)
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty_part = {"type": "output_text", "text": "", "annotations": []}
    begun = response(number, model, words, None)
    documents: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": item | {"status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": empty_part},
        *(
            {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
            for word in words
        ),
        {
            "type": "response.output_text.done",
            **place,
            "text": "".join(words),
            "logprobs": [],
        },
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response(number, model, words, usage)},
    ]
    for sequence, document in enumerate(documents):
        yield named_event(document["type"], document | {"sequence_number": sequence})


def transcription(words: list[str], audio_tokens: int) -> dict[str, Any]:
    usage = {
        "type": "tokens",
        "input_tokens": audio_tokens,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio_tokens},
        "output_tokens": len(words),
        "total_tokens": audio_tokens + len(words),
    }
    return {"text": "".join(words), "usage": usage}
