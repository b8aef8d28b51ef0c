"""What the simulated dialects share: JSON answers, and streams that are paced like a model's."""

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web

SSE_TYPE = "text/event-stream; charset=utf-8"


def json_answer(
    document: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=orjson.dumps(document), status=status, content_type="application/json", headers=headers
    )


def named_event(name: str, document: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(document))


def data_event(document: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(document)


async def stream(
    request: web.Request,
    pieces: Iterable[bytes],
    *,
    interval_s: float,
    content_type: str = SSE_TYPE,
) -> web.StreamResponse:
    """Send each piece by itself, with a pause between two."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(interval_s)
    await response.write_eof()
    return response
