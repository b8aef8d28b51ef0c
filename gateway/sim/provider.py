"""A simulated provider that speaks every dialect of the gateway, streaming and not.

For trying the gateway without a credential, for the demo and for the benchmark. Counts follow the
rule of thumb of four characters a token, so that the same call always costs the same.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web

from gateway.sim import anthropic, clouds, openai
from gateway.sim.answers import json_answer, stream
from gateway.sim.counting import CacheMemory, PromptCounts, count_prompt, words_for

EVENT_INTERVAL_S = 0.02
_BODY_BYTES_MAX = 64 << 20
_EVENT_STREAM_TYPE = "application/vnd.amazon.eventstream"
_WORDS_DEFAULT = 64
_AUDIO_BYTES_PER_TOKEN = 1600


class SimulatedProvider:
    """Answers below `/{provider}` on the paths that the real ones have."""

    def __init__(self, *, event_interval_s: float = EVENT_INTERVAL_S) -> None:
        self._interval_s = event_interval_s
        self._numbers = itertools.count(1)
        self._cache = CacheMemory()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        for path, handler in (
            ("/v1/messages", self._messages),
            ("/v1/messages/count_tokens", self._count_tokens),
            ("/chat/completions", self._chat),
            ("/v1/chat/completions", self._chat),
            ("/completions", self._completions),
            ("/embeddings", self._embeddings),
            ("/responses", self._responses),
            ("/audio/transcriptions", self._transcriptions),
            ("/{version:v1|v1beta}/models/{model:[^:/]+}:{action}", self._gemini),
            ("/model/{model}/{action}", self._bedrock),
        ):
            app.router.add_post(f"/{{provider}}{path}", handler)
        return app

    async def _count_tokens(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        return json_answer({"input_tokens": count_prompt(body).total_tokens})

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        if not isinstance(body.get("max_tokens"), int):
            error = {"type": "invalid_request_error", "message": "max_tokens: Field required"}
            return json_answer({"type": "error", "error": error}, status=400)
        number = next(self._numbers)
        counts, words, message = self._message(number, body, body["model"])
        if body.get("stream") is True:
            return await self._stream(request, anthropic.anthropic_events(message, words))
        usage = anthropic.anthropic_usage(counts, len(words))
        return json_answer(
            anthropic.whole_message(message, words, usage),
            headers={"request-id": f"req_sim{number:016d}"},
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        counts = count_prompt(body)
        words = words_for(
            body, body.get("max_completion_tokens") or body.get("max_tokens") or _WORDS_DEFAULT
        )
        number = next(self._numbers)
        head = openai.chat_head(number, body["model"])
        usage = openai.chat_usage(counts, len(words))
        if body.get("stream") is True:
            events = openai.chat_events(head, words, usage if _asks_for_usage(body) else None)
            return await self._stream(request, events)
        return json_answer(
            openai.chat_completion(head, words, usage),
            headers={"x-request-id": f"req_sim{number:016d}"},
        )

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        counts = count_prompt({"messages": body.get("prompt")})
        words = words_for(body, body.get("max_tokens") or _WORDS_DEFAULT)
        usage = openai.chat_usage(counts, len(words))
        number, model = next(self._numbers), body["model"]
        if body.get("stream") is True:
            asked = usage if _asks_for_usage(body) else None
            return await self._stream(
                request, openai.completion_events(number, model, words, asked)
            )
        return json_answer(openai.completion(number, model, words, usage))

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        inputs = body["input"] if isinstance(body.get("input"), list) else [body.get("input")]
        counts = count_prompt({"messages": inputs})
        return json_answer(openai.embeddings(body["model"], len(inputs), counts.total_tokens))

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        counts = count_prompt({"messages": body.get("input"), "system": body.get("instructions")})
        words = words_for(body, body.get("max_output_tokens") or _WORDS_DEFAULT)
        usage = openai.response_usage(counts, len(words))
        number, model = next(self._numbers), body["model"]
        if body.get("stream") is True:
            return await self._stream(request, openai.response_events(number, model, words, usage))
        return json_answer(openai.response(number, model, words, usage))

    async def _transcriptions(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        sound = form["file"]
        content = sound.file.read() if isinstance(sound, web.FileField) else str(sound).encode()
        words = words_for({"model": form["model"]}, _WORDS_DEFAULT)
        audio_tokens = max(1, len(content) // _AUDIO_BYTES_PER_TOKEN)
        return json_answer(openai.transcription(words, audio_tokens))

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        model, action = request.match_info["model"], request.match_info["action"]
        counts = count_prompt({"messages": body.get("contents")})
        if action == "countTokens":
            return json_answer({"totalTokens": counts.total_tokens})
        config = body.get("generationConfig") or {}
        words = words_for({"model": model}, config.get("maxOutputTokens") or _WORDS_DEFAULT)
        number = next(self._numbers)
        if action == "generateContent":
            return json_answer(clouds.gemini_document(number, model, counts, words))
        documents = clouds.gemini_documents(number, model, counts, words)
        if request.query.get("alt") == "sse":
            return await self._stream(request, clouds.gemini_events(documents))
        return await stream(
            request,
            clouds.gemini_array(documents),
            interval_s=self._interval_s,
            content_type="application/json; charset=UTF-8",
        )

    async def _bedrock(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        model, action = request.match_info["model"], request.match_info["action"]
        if action.startswith("converse"):
            config = body.get("inferenceConfig") or {}
            counts = count_prompt(body)
            words = words_for({"model": model}, config.get("maxTokens") or _WORDS_DEFAULT)
            if action == "converse":
                return json_answer(clouds.converse_document(counts, words))
            return await self._frames(request, clouds.converse_frames(counts, words))
        counts, words, message = self._message(next(self._numbers), body, model)
        if action == "invoke":
            usage = anthropic.anthropic_usage(counts, len(words))
            return json_answer(anthropic.whole_message(message, words, usage))
        documents = anthropic.anthropic_documents(message, words)
        return await self._frames(request, clouds.invoke_frames(documents, counts))

    def _message(
        self, number: int, body: dict[str, Any], model: str
    ) -> tuple[PromptCounts, list[str], dict[str, Any]]:
        counts = self._cache.recall(count_prompt(body))
        words = words_for(body | {"model": model}, body.get("max_tokens") or _WORDS_DEFAULT)
        usage = anthropic.anthropic_usage(counts, 1)
        return counts, words, anthropic.anthropic_message(number, model, usage)

    async def _stream(self, request: web.Request, events: Iterable[bytes]) -> web.StreamResponse:
        return await stream(request, events, interval_s=self._interval_s)

    async def _frames(self, request: web.Request, frames: Iterable[bytes]) -> web.StreamResponse:
        return await stream(
            request, frames, interval_s=self._interval_s, content_type=_EVENT_STREAM_TYPE
        )


def _asks_for_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))
