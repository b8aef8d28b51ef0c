"""A simulated provider that speaks Anthropic Messages and OpenAI Chat, streaming and not.

For trying the gateway without a credential, for the demo and for the benchmark. Counts follow the
rule of thumb of four characters a token, so that the same call always costs the same.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson
from aiohttp import web

from gateway.sim.counting import CacheMemory, PromptCounts, count_prompt, words_for

EVENT_INTERVAL_S = 0.02
_BODY_BYTES_MAX = 64 << 20


class SimulatedProvider:
    """Answers on `/{provider}/v1/messages` and `/{provider}/chat/completions`."""

    def __init__(self, *, event_interval_s: float = EVENT_INTERVAL_S) -> None:
        self._event_interval_s = event_interval_s
        self._numbers = itertools.count(1)
        self._cache = CacheMemory()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_post("/{provider}/v1/messages", self._messages)
        app.router.add_post("/{provider}/v1/messages/count_tokens", self._count_tokens)
        app.router.add_post("/{provider}/chat/completions", self._chat)
        return app

    async def _count_tokens(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        return _json({"input_tokens": count_prompt(body).total_tokens})

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        if not isinstance(body.get("max_tokens"), int):
            error = {"type": "invalid_request_error", "message": "max_tokens: Field required"}
            return _json({"type": "error", "error": error}, status=400)
        counts = self._cache.recall(count_prompt(body))
        number = next(self._numbers)
        words = words_for(body, body["max_tokens"])
        message = {
            "id": f"msg_sim{number:016d}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _anthropic_usage(counts, 1),
        }
        if body.get("stream") is True:
            return await self._stream(request, _anthropic_events(message, words))
        message |= {
            "content": [{"type": "text", "text": "".join(words)}],
            "stop_reason": "end_turn",
            "usage": _anthropic_usage(counts, len(words)),
        }
        return _json(message, headers={"request-id": f"req_sim{number:016d}"})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        counts = count_prompt(body)
        bound = body.get("max_completion_tokens") or body.get("max_tokens") or 64
        words = words_for(body, bound)
        number = next(self._numbers)
        head = {
            "id": f"chatcmpl-sim{number:016d}",
            "created": 1_760_000_000,
            "model": body["model"],
            "service_tier": "default",
        }
        usage = _openai_usage(counts, len(words))
        if body.get("stream") is True:
            options = body.get("stream_options") or {}
            events = _chat_events(head, words, usage if options.get("include_usage") else None)
            return await self._stream(request, events)
        message = {"role": "assistant", "content": "".join(words), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        document = head | {"object": "chat.completion", "choices": [choice], "usage": usage}
        return _json(document, headers={"x-request-id": f"req_sim{number:016d}"})

    async def _stream(self, request: web.Request, events: Iterable[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        async for event in self._paced(events):
            await response.write(event)
        await response.write_eof()
        return response

    async def _paced(self, events: Iterable[bytes]) -> AsyncIterator[bytes]:
        for event in events:
            yield event
            await asyncio.sleep(self._event_interval_s)


def _json(
    document: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=orjson.dumps(document), status=status, content_type="application/json", headers=headers
    )


def _anthropic_usage(counts: PromptCounts, output_tokens: int) -> dict[str, Any]:
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


def _openai_usage(counts: PromptCounts, output_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.total_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": counts.total_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _event(name: str, document: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(document))


def _anthropic_events(message: dict[str, Any], words: list[str]) -> Iterable[bytes]:
    yield _event("message_start", {"type": "message_start", "message": message})
    block = {"type": "text", "text": ""}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    yield _event("content_block_start", start)
    yield _event("ping", {"type": "ping"})
    for word in words:
        delta = {"type": "text_delta", "text": word}
        yield _event(
            "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
        )
    yield _event("content_block_stop", {"type": "content_block_stop", "index": 0})
    usage = message["usage"] | {"output_tokens": len(words)}
    usage = {name: usage[name] for name in usage if name.endswith("_tokens")}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event("message_delta", {"type": "message_delta", "delta": end, "usage": usage})
    yield _event("message_stop", {"type": "message_stop"})


def _chat_events(
    head: dict[str, Any], words: list[str], usage: dict[str, Any] | None
) -> Iterable[bytes]:
    head = head | {"object": "chat.completion.chunk"}
    # With include_usage each chunk has a usage field, null but for the last.
    extra: dict[str, Any] = {} if usage is None else {"usage": None}
    yield _chunk(head, {"role": "assistant", "content": ""}, None, extra)
    for word in words:
        yield _chunk(head, {"content": word}, None, extra)
    yield _chunk(head, {}, "stop", extra)
    if usage is not None:
        yield b"data: %s\n\n" % orjson.dumps(head | {"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _chunk(
    head: dict[str, Any], delta: dict[str, Any], finish: str | None, extra: dict[str, Any]
) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return b"data: %s\n\n" % orjson.dumps(head | {"choices": [choice]} | extra)
