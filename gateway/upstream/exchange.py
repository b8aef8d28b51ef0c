"""One HTTP exchange with a provider over aiohttp's client, its errors translated on entry."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from gateway.domain.errors import (
    UpstreamCutError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.tracing import Trace

CONNECT_TIMEOUT_S = 10.0
# Extended thinking is silent for minutes; any byte, pings included, starts the wait anew.
IDLE_TIMEOUT_S = 600.0
# Below the idle time-outs of the providers' own front ends, so that we close first.
_KEEPALIVE_S = 15.0
_READ_BUFFER_BYTES = 16 * 1024
_BAD_GATEWAY_STATUS = range(300, 400)


class _Connector(aiohttp.TCPConnector):
    """A pool that never hands out a connection on which unasked bytes have arrived.

    aiohttp re-checks only whether a pooled connection is open: what a provider sent on an idle one
    would become the next caller's answer (aio-libs/aiohttp#13656).
    """

    @override
    async def _get(
        self, key: "ConnectionKey", traces: "list[Trace]"
    ) -> "aiohttp.connector.Connection | None":
        pooled: deque[tuple[ResponseHandler, float]] | None = self._conns.get(key)
        if pooled:
            for connection in [item for item in pooled if item[0].should_close]:
                pooled.remove(connection)
                connection[0].close()
            if not pooled:
                del self._conns[key]
        return await super()._get(key, traces)


class Answer:
    """A provider's answer whose head has arrived. `chunks` may be consumed once."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._peeked: list[bytes] = []
        self.status = response.status
        self.headers: list[tuple[str, str]] = list(response.headers.items())
        self.content_type = response.headers.get("Content-Type", "")
        self.content_encoding = response.headers.get("Content-Encoding")
        length = response.headers.get("Content-Length")
        self.content_bytes: int | None = int(length) if length is not None else None
        is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        self.is_close_delimited = length is None and not is_chunked
        """The body ends where the connection does: an end cannot be told from a cut."""

    async def peek(self, bytes_max: int) -> bytes:
        """The body's beginning, which `chunks` gives again.

        Raises:
            UpstreamCutError, UpstreamTimeoutError: as `chunks`.
        """
        pieces: list[bytes] = []
        async for piece in self.chunks():
            pieces.append(piece)
            if sum(map(len, pieces)) >= bytes_max:
                break
        self._peeked = pieces
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Bytes of the body as they arrive, transfer framing removed, content encoding kept.

        Raises:
            UpstreamCutError: the body broke off.
            UpstreamTimeoutError: the provider was silent for too long.
        """
        peeked, self._peeked = self._peeked, []
        for piece in peeked:
            yield piece
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (TimeoutError, aiohttp.ServerTimeoutError) as exc:
            raise UpstreamTimeoutError("The provider went silent.") from exc
        except (aiohttp.ClientError, ConnectionError, OSError) as exc:
            raise UpstreamCutError from exc

    def release(self) -> None:
        """The body was read to its end: the connection may serve another request."""
        self._response.release()

    def abort(self) -> None:
        """Close the connection: the provider sees that nobody listens any more."""
        self._response.close()


class Upstream:
    """The pool of connections to all providers."""

    def __init__(
        self,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            # One caller's cookie from a provider must never travel on another's request.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=connect_timeout_s, sock_read=idle_timeout_s
            ),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def post(
        self,
        url: str,
        *,
        headers: Iterable[tuple[str, str]],
        query: str,
        body: bytes,
    ) -> Answer:
        """Send one request and wait for the head of its answer. Never retried, never redirected.

        Raises:
            UpstreamUnreachableError: no connection; nothing was sent.
            UpstreamTimeoutError, UpstreamProtocolError, UpstreamCutError: sent, no usable answer.
        """
        target = URL(f"{url}?{query}" if query else url, encoded=True)
        try:
            response = await self._session.post(
                target, data=body, headers=CIMultiDict(headers), allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise UpstreamUnreachableError from exc
        except (TimeoutError, aiohttp.ServerTimeoutError) as exc:
            raise UpstreamTimeoutError from exc
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as exc:
            raise UpstreamCutError from exc
        except (aiohttp.ClientError, asyncio.IncompleteReadError, ValueError) as exc:
            raise UpstreamProtocolError from exc
        if response.status < 200 or response.status in _BAD_GATEWAY_STATUS:  # noqa: PLR2004
            # Following a redirect would carry the credential and the prompt to another origin.
            response.close()
            raise UpstreamProtocolError(f"The provider answered {response.status}.")
        return Answer(response)

    async def close(self) -> None:
        await self._session.close()
