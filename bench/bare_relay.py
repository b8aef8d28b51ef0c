"""The relay that everyone writes first: aiohttp on both sides, uvloop, and nothing else at all."""

import sys
from collections.abc import AsyncIterator, Mapping

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, hdrs, web
from multidict import CIMultiDict

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", ClientSession)
BODY_BYTES_MAX = 64 << 20
# What belongs to one connection, or is written anew by the library.
NOT_FORWARDED = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "host", "content-length"}
)


def forwarded(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pair for pair in headers.items() if pair[0].lower() not in NOT_FORWARDED)


async def relay(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    url = request.app[UPSTREAM] + request.path_qs
    async with request.app[SESSION].post(
        url, data=body, headers=forwarded(request.headers)
    ) as answer:
        headers = forwarded(answer.headers)
        if hdrs.CONTENT_LENGTH in answer.headers:
            return web.Response(status=answer.status, headers=headers, body=await answer.read())
        reply = web.StreamResponse(status=answer.status, headers=headers)
        await reply.prepare(request)
        async for piece in answer.content.iter_any():
            await reply.write(piece)
        await reply.write_eof()
        return reply


async def session_of(app: web.Application) -> AsyncIterator[None]:
    app[SESSION] = ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=60),
        timeout=ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
    )
    yield
    await app[SESSION].close()


def main() -> None:
    """`python -m bench.bare_relay PORT UPSTREAM_URL`."""
    port, upstream = sys.argv[1:]
    uvloop.install()
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(session_of)
    app.router.add_post("/{path:.*}", relay)
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None, backlog=8192)


if __name__ == "__main__":
    main()
