"""The fast way to a provider: our own small HTTP/1.1 exchange on aiohttp's connections."""

import asyncio
import ssl
from functools import lru_cache

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

from gateway.domain.errors import (
    InvalidRequestError,
    UpstreamCutError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from gateway.upstream.answer import AnswerListener, Exchange, OutgoingRequest
from gateway.upstream.connection import KEEPALIVE_S, ModelConnection, ModelConnector
from gateway.upstream.idle import IdleConnections
from gateway.upstream.wheel import DeadlineWheel
from gateway.wire.http1 import Framing, FramingError, HeadReader, ResponseHead
from gateway.wire.http1_body import Body, body_of

CONNECT_TIMEOUT_S = 10.0
# Extended thinking is silent for minutes; any byte, pings included, starts the wait anew.
IDLE_TIMEOUT_S = 600.0
_ORIGINS_MAX = 1024
# Following a redirect would carry the credential and the prompt to another origin.
REDIRECTS = range(300, 400)


class FastUpstream:
    """Requests on pooled connections; bytes are handed on in the callback that they came in."""

    def __init__(
        self,
        *,
        wheel: DeadlineWheel,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        keepalive_s: float = KEEPALIVE_S,
        connector: ModelConnector | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` stands in for the system's trusted authorities."""
        self._wheel = wheel
        self._tls = tls
        self._connector = connector or ModelConnector()
        self._idle_timeout_s = idle_timeout_s
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s
        )
        self._idle = IdleConnections(wheel, keepalive_s=keepalive_s)
        self._origins: dict[str, _Origin] = {}

    def send_now(self, request: OutgoingRequest, listener: AnswerListener) -> Exchange | None:
        origin = self._origin_of(request.url)
        head = origin.head(request)
        at_hand = self._idle.take(origin.key)
        if at_hand is None:
            return None
        return self._ask(origin, *at_hand, head, request.body, listener)

    async def send(self, request: OutgoingRequest, listener: AnswerListener) -> Exchange:
        """Connect and write; the answer comes by callbacks, none before this returns.

        Raises:
            UpstreamUnreachableError: no connection; nothing was sent.
        """
        origin = self._origin_of(request.url)
        head = origin.head(request)
        at_hand = self._idle.take(origin.key) or await self._connect(origin)
        return self._ask(origin, *at_hand, head, request.body, listener)

    async def close(self) -> None:
        self._idle.close()
        await self._connector.close()

    def _origin_of(self, url: str) -> "_Origin":
        origin = self._origins.get(url)
        if origin is None:
            if len(self._origins) >= _ORIGINS_MAX:
                # Some dialects name the model in the path: as many URLs as names that clients use.
                self._origins.clear()
            origin = self._origins[url] = _Origin(url, self._tls)
        return origin

    def _ask(
        self,
        origin: "_Origin",
        connection: Connection,
        protocol: ModelConnection,
        head: bytes,
        body: bytes,
        listener: AnswerListener,
    ) -> Exchange:
        exchange = _FastExchange(
            connection,
            protocol,
            listener,
            idle=self._idle,
            key=origin.key,
            deadline=(self._wheel, self._idle_timeout_s),
        )
        try:
            protocol.ask(exchange, head, body)
        except BaseException:
            # What has gone out of it nobody knows: the connection serves no other request.
            exchange.abort()
            raise
        return exchange

    async def _connect(self, origin: "_Origin") -> tuple[Connection, ModelConnection]:
        while True:
            try:
                connection = await self._connector.connect(
                    origin.connection_request, traces=[], timeout=self._timeout
                )
            except (TimeoutError, aiohttp.ClientError, OSError) as exc:
                raise UpstreamUnreachableError from exc
            protocol = connection.protocol
            # What a fresh connection may hold already is the peer's part of a TLS handshake.
            if isinstance(protocol, ModelConnection) and (protocol.is_fresh or protocol.is_quiet):
                return connection, protocol
            connection.close()
            if not isinstance(protocol, ModelConnection):
                raise UpstreamUnreachableError("The connection pool is not what it was.")


class _Origin:
    """What every request to one URL has in common."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        target = URL(url, encoded=True)
        # Never sent: it names the pool's key and how TLS is verified.
        self.connection_request = aiohttp.ClientRequest(
            "POST", target, loop=asyncio.get_running_loop(), ssl=tls if tls is not None else True
        )
        self.key = self.connection_request.connection_key
        self._path = target.raw_path
        self._host = f"Host: {target.host_port_subcomponent}"

    def head(self, request: OutgoingRequest) -> bytes:
        path = f"{self._path}?{request.query}" if request.query else self._path
        if not path.isprintable():
            raise InvalidRequestError("The address holds what no address may.")
        lines = header_lines(tuple(request.headers))
        head = f"POST {path} HTTP/1.1\r\n{self._host}{lines}{len(request.body)}\r\n\r\n"
        return head.encode("utf-8", "surrogateescape")


@lru_cache(_ORIGINS_MAX)
def header_lines(headers: tuple[tuple[str, str], ...]) -> str:
    """The headers of a request, up to the length of its body: clients repeat theirs.

    Raises:
        InvalidRequestError: one holds a line end.
    """
    lines = ["", *(f"{name}: {value}" for name, value in headers), "Content-Length: "]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise InvalidRequestError("A header holds a line end.")
    return text


class _FastExchange:
    """One request and its answer on one connection."""

    def __init__(
        self,
        connection: Connection,
        protocol: ModelConnection,
        listener: AnswerListener,
        *,
        idle: IdleConnections,
        key: ConnectionKey,
        deadline: tuple[DeadlineWheel, float],
    ) -> None:
        self._connection = connection
        self._protocol = protocol
        self._listener = listener
        self._idle = idle
        self._key = key
        self._wheel, self._idle_timeout_s = deadline
        self._head_reader: HeadReader | None = HeadReader()
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        self._is_over = False
        self._is_paused = False
        self._deadline = self._wheel.start(self._idle_timeout_s, self._on_silence)

    def data_received(self, data: bytes) -> None:
        self._deadline.restart()
        try:
            body = self._body
            if body is None:
                self._read_head(data)
                return
            payload = body.feed(data)
        except FramingError as exc:
            self._fail(UpstreamProtocolError(), exc)
            return
        if body.is_ended:
            self._end(body, payload)
        else:
            self._listener.piece_received(body.framed, payload, is_last=False)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._is_over:
            return
        head = self._head
        if exc is None and head is not None and head.framing is Framing.CLOSE:
            self._is_over = True
            self._deadline.end()
            self._connection.close()
            self._listener.piece_received(b"", b"", is_last=True)
            return
        self._fail(UpstreamCutError(), exc)

    def pause(self) -> None:
        transport = self._protocol.transport
        if not self._is_paused and not self._is_over and transport is not None:
            self._is_paused = True
            transport.pause_reading()

    def resume(self) -> None:
        transport = self._protocol.transport
        if self._is_paused and not self._is_over and transport is not None:
            self._is_paused = False
            self._deadline.restart()
            transport.resume_reading()

    def abort(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._deadline.end()
        self._protocol.leave()
        self._protocol.abort()
        self._connection.close()

    def _read_head(self, data: bytes) -> None:
        assert self._head_reader is not None
        found = self._head_reader.feed(data)
        if found is None:
            return
        head, rest = found
        if head.status in REDIRECTS:
            self._fail(UpstreamProtocolError(f"The provider answered {head.status}."), None)
            return
        self._head_reader = None
        self._head = head
        body = self._body = body_of(head)
        self._listener.head_received(head, is_followed=body.is_ended or rest != b"")
        payload = b""
        if body.is_ended:
            body.has_excess = rest != b""
        elif rest:
            payload = body.feed(rest)
        if self._is_over:
            return
        if body.is_ended:
            self._end(body, payload)
        elif rest:
            self._listener.piece_received(body.framed, payload, is_last=False)

    def _end(self, body: Body, payload: bytes) -> None:
        self._is_over = True
        self._deadline.end()
        self._listener.piece_received(body.framed, payload, is_last=True)
        protocol = self._protocol
        assert self._head is not None
        if body.has_excess or not self._head.keeps_alive:
            protocol.force_close()
        if self._is_paused and protocol.transport is not None:
            protocol.transport.resume_reading()
        protocol.leave()
        self._idle.put(self._key, self._connection, protocol)

    def _on_silence(self) -> None:
        if self._is_paused:
            # It is the client who holds us up, not the provider who is silent.
            self._deadline = self._wheel.start(self._idle_timeout_s, self._on_silence)
            return
        self._fail(UpstreamTimeoutError("The provider went silent."), None)

    def _fail(self, error: UpstreamError, cause: BaseException | None) -> None:
        error.__cause__ = cause
        self.abort()
        self._listener.answer_failed(error)
