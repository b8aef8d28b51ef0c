"""A provider that keeps its own bill: what it generated for whom, and what that costs exactly."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Self

from aiohttp import web

Kind = Literal["whole", "cut", "error"]
SONNET = "claude-sonnet-4-6"
GPT = "gpt-4o-mini"
# Pico-USD a token, input and output: 3 and 15, 0.15 and 0.60 dollars a million.
_RATES = {SONNET: (3_000_000, 15_000_000), GPT: (150_000, 600_000)}
_PICO = Decimal("1e-12")
_SSE = {"Content-Type": "text/event-stream; charset=utf-8"}


@dataclass(slots=True)
class Generated:
    """One answer, as it goes out; an error costs nothing."""

    tag: str
    model: str
    response_id: str
    input_tokens: int
    output_tokens: int
    kind: Kind
    body: bytes = b""
    """What a client should get, byte for byte."""

    @property
    def amount_usd(self) -> Decimal:
        if self.kind == "error":
            return Decimal(0)
        return self.cost_usd(self.output_tokens)

    def cost_usd(self, output_tokens: int) -> Decimal:
        input_rate, output_rate = _RATES[self.model]
        return (self.input_tokens * input_rate + output_tokens * output_rate) * _PICO


class BillingProvider:
    """`async with BillingProvider(seed) as provider`; a request's prompt is its tag."""

    def __init__(self, seed: int, *, piece_delay_s: float = 0.03) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - repeatable, not secret.
        self._piece_delay_s = piece_delay_s
        self.bill: dict[str, list[Generated]] = defaultdict(list)
        self.url = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=1 << 24)
        application.router.add_post("/anthropic/v1/messages", self._messages)
        application.router.add_post("/openai/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._runner.cleanup()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        made = self._generate(asked, SONNET)
        if made.kind == "error":
            made.body = _dumped({"type": "error", "error": {"type": "overloaded_error"}})
            return await self._document(made, status=529)
        if asked.get("stream"):
            pieces = list(_anthropic_events(made))
            made.body = b"".join(pieces)
            return await self._stream(request, made, pieces)
        made.body = _dumped(
            {
                "id": made.response_id,
                "type": "message",
                "role": "assistant",
                "model": made.model,
                "content": [{"type": "text", "text": "word " * made.output_tokens}],
                "stop_reason": "end_turn",
                "usage": {
                    "input_tokens": made.input_tokens,
                    "output_tokens": made.output_tokens,
                },
            }
        )
        return await self._document(made)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        made = self._generate(asked, GPT)
        if made.kind == "error":
            made.body = _dumped({"error": {"message": "try later", "type": "server_error"}})
            return await self._document(made, status=500)
        usage = {
            "prompt_tokens": made.input_tokens,
            "completion_tokens": made.output_tokens,
            "total_tokens": made.input_tokens + made.output_tokens,
        }
        if asked.get("stream"):
            # The gateway asks for the usage chunk and keeps it from a client that did not.
            pieces = list(_openai_events(made, usage))
            made.body = b"".join(piece for piece in pieces if b'"usage"' not in piece)
            return await self._stream(request, made, pieces)
        message = {"role": "assistant", "content": "word " * made.output_tokens}
        made.body = _dumped(
            {
                "id": made.response_id,
                "object": "chat.completion",
                "model": made.model,
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": usage,
            }
        )
        return await self._document(made)

    def _generate(self, asked: dict[str, Any], model: str) -> Generated:
        dice = self._dice
        tag = asked["messages"][0]["content"]
        chance = dice.random()
        made = Generated(
            tag=tag,
            model=model,
            response_id=f"gen_{tag.replace('/', '_')}_{len(self.bill[tag])}",
            input_tokens=dice.randint(20, 3000),
            output_tokens=dice.randint(3, 12),
            kind="error" if chance < 0.03 else "cut" if chance < 0.05 else "whole",
        )
        self.bill[tag].append(made)
        return made

    async def _document(self, made: Generated, status: int = 200) -> web.Response:
        await asyncio.sleep(self._dice.random() * self._piece_delay_s * 4)
        made.kind = "whole" if made.kind == "cut" else made.kind
        return web.Response(status=status, body=made.body, content_type="application/json")

    async def _stream(
        self, request: web.Request, made: Generated, pieces: list[bytes]
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers=_SSE)
        answer.enable_chunked_encoding()
        cut_at = self._dice.randrange(1, len(pieces)) if made.kind == "cut" else None
        with suppress(ConnectionError):
            await answer.prepare(request)
            for number, piece in enumerate(pieces):
                if number == cut_at:
                    if request.transport is not None:
                        request.transport.abort()
                    break
                await answer.write(piece)
                await asyncio.sleep(self._dice.random() * self._piece_delay_s)
        return answer


def _anthropic_events(made: Generated) -> Iterator[bytes]:
    yield _event(
        "message_start",
        message={
            "id": made.response_id,
            "type": "message",
            "role": "assistant",
            "model": made.model,
            "content": [],
            "usage": {"input_tokens": made.input_tokens, "output_tokens": 1},
        },
    )
    yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for _ in range(made.output_tokens):
        delta = {"type": "text_delta", "text": "word "}
        yield _event("content_block_delta", index=0, delta=delta)
    yield _event("content_block_stop", index=0)
    yield _event(
        "message_delta",
        delta={"stop_reason": "end_turn"},
        usage={"output_tokens": made.output_tokens},
    )
    yield _event("message_stop")


def _openai_events(made: Generated, usage: dict[str, int]) -> Iterator[bytes]:
    common = {"id": made.response_id, "object": "chat.completion.chunk", "model": made.model}
    for number in range(made.output_tokens + 1):
        delta = {"content": "word "} if number else {"role": "assistant", "content": ""}
        yield _data({**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _data({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield _data({**common, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(kind: str, **fields: object) -> bytes:
    return b"event: " + kind.encode() + b"\n" + _data({"type": kind, **fields})


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + _dumped(document) + b"\n\n"


def _dumped(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
