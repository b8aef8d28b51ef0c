"""The plain way to a provider: aiohttp's ClientSession, for when the fast way does not work."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from gateway.domain.errors import (
    UpstreamCutError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from gateway.upstream.answer import AnswerListener, Exchange, OutgoingRequest
from gateway.upstream.connection import KEEPALIVE_S, bounded_socket
from gateway.upstream.fast import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S, REDIRECTS
from gateway.wire.http1 import Framing, ResponseHead

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.tracing import Trace

_READ_BUFFER_BYTES = 16 * 1024
_LAST_CHUNK = b"0\r\n\r\n"
_SWITCHING_PROTOCOLS = 101


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


class PlainUpstream:
    """Requests by aiohttp's own client, their answers heard in the same way as on the fast one."""

    def __init__(
        self,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=0, keepalive_timeout=KEEPALIVE_S, socket_factory=bounded_socket
            ),
            # One caller's cookie from a provider must never travel on another's request.
            cookie_jar=aiohttp.DummyCookieJar(),
            # Silence is timed below: aiohttp's own clock runs on while a slow client holds us up.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._idle_timeout_s = idle_timeout_s
        self._running: set[asyncio.Task[None]] = set()

    def send_now(
        self,
        request: OutgoingRequest,  # noqa: ARG002 - the protocol's.
        listener: AnswerListener,  # noqa: ARG002
    ) -> Exchange | None:
        """Never: the session's requests are all waited for."""
        return None

    async def send(self, request: OutgoingRequest, listener: AnswerListener) -> Exchange:
        """Start a request; that no connection could be made is heard by the listener too."""
        exchange = _PlainExchange(
            self._session, request, listener, idle_timeout_s=self._idle_timeout_s
        )
        task = asyncio.get_running_loop().create_task(exchange.run())
        exchange.task = task
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return exchange

    async def close(self) -> None:
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await self._session.close()


class _PlainExchange:
    """One request and its answer, pumped by a task from aiohttp's stream to the listener."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        request: OutgoingRequest,
        listener: AnswerListener,
        *,
        idle_timeout_s: float,
    ) -> None:
        self._idle_timeout_s = idle_timeout_s
        self._session = session
        self._request = request
        self._listener = listener
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._is_aborted = False
        self.task: asyncio.Task[None] | None = None

    def pause(self) -> None:
        self._may_read.clear()

    def resume(self) -> None:
        self._may_read.set()

    def abort(self) -> None:
        self._is_aborted = True
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def run(self) -> None:
        try:
            response = await self._ask()
        except UpstreamError as error:
            self._listener.answer_failed(error)
            return
        try:
            await self._pass_on(response)
        except UpstreamError as error:
            self._listener.answer_failed(error)
        finally:
            # Closes the connection, unless its answer was read to the end.
            response.close()

    async def _ask(self) -> aiohttp.ClientResponse:
        request = self._request
        url = f"{request.url}?{request.query}" if request.query else request.url
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                response = await self._session.post(
                    URL(url, encoded=True),
                    data=request.body,
                    headers=CIMultiDict(request.headers),
                    allow_redirects=False,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise UpstreamUnreachableError from exc
        except (TimeoutError, aiohttp.ServerTimeoutError) as exc:
            raise UpstreamTimeoutError("The provider went silent.") from exc
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as exc:
            raise UpstreamCutError from exc
        except (aiohttp.ClientError, asyncio.IncompleteReadError, ValueError) as exc:
            raise UpstreamProtocolError from exc
        if response.status in REDIRECTS or response.status == _SWITCHING_PROTOCOLS:
            response.close()
            raise UpstreamProtocolError(f"The provider answered {response.status}.")
        return response

    async def _pass_on(self, response: aiohttp.ClientResponse) -> None:
        head = _head_of(response)
        listener = self._listener
        listener.head_received(head)
        is_chunked = head.framing is Framing.CHUNKED
        left_bytes = head.content_bytes
        try:
            while (
                not self._is_aborted
                and left_bytes != 0
                and (payload := await self._next_payload(response))
            ):
                await self._may_read.wait()
                framed = b"%x\r\n%b\r\n" % (len(payload), payload) if is_chunked else payload
                if left_bytes is not None:
                    left_bytes -= len(payload)
                listener.piece_received(framed, payload, is_last=left_bytes == 0)
        except (TimeoutError, aiohttp.ServerTimeoutError) as exc:
            raise UpstreamTimeoutError("The provider went silent.") from exc
        except (aiohttp.ClientError, ConnectionError, OSError) as exc:
            raise UpstreamCutError from exc
        if self._is_aborted:
            return
        if left_bytes is None or head.content_bytes == 0:
            listener.piece_received(_LAST_CHUNK if is_chunked else b"", b"", is_last=True)
        response.release()

    async def _next_payload(self, response: aiohttp.ClientResponse) -> bytes:
        """What has come, or comes within the idle time; empty at the end."""
        async with asyncio.timeout(self._idle_timeout_s):
            return await response.content.readany()


def _head_of(response: aiohttp.ClientResponse) -> ResponseHead:
    headers = list(response.headers.items())
    length = response.headers.get("Content-Length")
    framing = Framing.CLOSE
    if "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        framing = Framing.CHUNKED
    elif length is not None or response.status in {204, 304}:
        framing = Framing.LENGTH
    is_by_length = framing is Framing.LENGTH
    return ResponseHead(
        status=response.status,
        headers=headers,
        # Reversed, so that of several the first is the one that stays.
        first={name.lower(): value for name, value in reversed(headers)},
        framing=framing,
        content_bytes=int(length or 0) if is_by_length else None,
        keeps_alive=framing is not Framing.CLOSE,
    )
