"""The servers behind the listeners: aiohttp's, and for clients our own connections before it."""

import asyncio
from contextlib import suppress
from typing import cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from typing_extensions import override

from gateway.edge.call_connection import LINGERING_S, CallConnection
from gateway.edge.calls import CallEdge
from gateway.edge.clients import ClientEdge
from gateway.edge.framework_connection import FrameworkConnection

_log = structlog.get_logger("gateway.edge")
_READ_BUFFER_BYTES = 16 * 1024
_POLL_S = 0.02
KEEPALIVE_TIMEOUT_S = 75.0
# From its first byte to its last; looked at so often that it is half as long again at most.
HEAD_TIMEOUT_S = 10.0
_HEAD_SWEEPS = 2
# Looks at idle connections within the time that they may stay.
_SWEEPS = 15


class QuietServer(web.Server):  # type: ignore[type-arg, unused-ignore]
    """The framework's server, whose connections are ours in what they say and hold."""

    def new_framework_connection(self) -> FrameworkConnection:
        return FrameworkConnection(
            self,
            loop=self._loop,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            access_log=None,  # type: ignore[arg-type]
            lingering_time=LINGERING_S,
            read_bufsize=_READ_BUFFER_BYTES,
            # An inflated body would be metered and bounded wrongly; encoded ones are refused.
            auto_decompress=False,
        )

    @override
    def __call__(self) -> RequestHandler:  # type: ignore[type-arg, unused-ignore]
        return self.new_framework_connection()


class _Refused(asyncio.Protocol):
    """A connection for which there is no room: closed at once."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


class ClientServer(QuietServer):
    """The server of the client listener: every connection begins as one of our own."""

    def __init__(
        self,
        edge: ClientEdge,
        calls: CallEdge,
        *,
        connections_max: int,
        idle_timeout_s: float = KEEPALIVE_TIMEOUT_S,
        head_timeout_s: float = HEAD_TIMEOUT_S,
    ) -> None:
        # A client that leaves cancels its handler, so that a silent provider hides nobody's
        # leaving.
        super().__init__(edge.handle, handler_cancellation=True)
        self._call_edge = calls
        self._connections_max = connections_max
        self._was_full = False
        self._idle_timeout_s = idle_timeout_s
        self._head_timeout_s = head_timeout_s
        self._sweep_interval_s = min(idle_timeout_s / _SWEEPS, head_timeout_s / _HEAD_SWEEPS)
        self._calls: set[CallConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._takes_more = True

    @override
    def __call__(self) -> CallConnection | _Refused:  # type: ignore[override]
        if len(self._calls) + len(self._connections) >= self._connections_max:
            return self._refused()
        connection = CallConnection(self._call_edge, self, self._loop)
        connection.takes_more = self._takes_more
        self._calls.add(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._sweep_interval_s, self._close_idle)
        return connection

    def _refused(self) -> _Refused:
        if not self._was_full:
            # Once: who fills it would else fill the log.
            self._was_full = True
            _log.warning("connections.full", connections_max=self._connections_max)
        return _Refused()

    @override
    def new_framework_connection(self) -> FrameworkConnection:
        connection = super().new_framework_connection()
        connection.takes_more = self._takes_more
        return connection

    def forget(self, connection: CallConnection) -> None:
        self._calls.discard(connection)

    async def let_requests_arrive(self, *, quiet_s: float, timeout_s: float) -> None:
        """Take what clients have sent or are about to, once there are no new connections.

        The framework's shutdown closes a connection on which nothing has come yet, and reads no
        more of a body: the client would see its request dropped. A connection without a request
        is kept for `quiet_s`, one whose request is arriving for `timeout_s`.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._takes_more = False
        # A connection that was accepted in this turn of the loop is made in the next one.
        await asyncio.sleep(0)
        while (waited_s := loop.time() - began_s) < timeout_s:
            is_quiet = waited_s >= quiet_s
            connections: list[CallConnection | FrameworkConnection] = [*self._calls]
            connections += [one for one in self.connections if isinstance(one, FrameworkConnection)]
            for connection in connections:
                connection.takes_more = False
            if not any(one.is_receiving or (one.is_idle and not is_quiet) for one in connections):
                return
            await asyncio.sleep(_POLL_S)

    @override
    def pre_shutdown(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._calls):
            connection.close_if_idle(self._loop.time())
        super().pre_shutdown()

    @override
    async def shutdown(self, timeout: float | None = None) -> None:
        await asyncio.gather(self._end_calls(timeout), super().shutdown(timeout))

    async def _end_calls(self, timeout_s: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not all(one.is_idle for one in self._calls):  # noqa: ASYNC110 - once a process.
                    await asyncio.sleep(_POLL_S)
        for connection in list(self._calls):
            connection.abort()

    def _close_idle(self) -> None:
        now_s = self._loop.time()
        for connection in list(self._calls):
            connection.close_if_idle(now_s - self._idle_timeout_s)
        for other in self.connections:
            if isinstance(other, FrameworkConnection):
                other.close_if_head_is_late(now_s - self._head_timeout_s)
        self._sweep = None
        if self._calls or self._connections:
            self._sweep = self._loop.call_later(self._sweep_interval_s, self._close_idle)
