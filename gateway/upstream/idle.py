"""Connections to providers between two requests, at hand without a wait."""

from collections import deque

from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection

from gateway.upstream.connection import KEEPALIVE_S, ModelConnection
from gateway.upstream.wheel import Deadline, DeadlineWheel

_Idle = tuple[Connection, ModelConnection, int]


class IdleConnections:
    """The one that was used last is used next, so that those in excess grow old and are closed.

    aiohttp's connector makes them, and counts them as in use while they are here.
    """

    def __init__(self, wheel: DeadlineWheel, *, keepalive_s: float = KEEPALIVE_S) -> None:
        self._wheel = wheel
        self._keepalive_s = keepalive_s
        self._connections: dict[ConnectionKey, deque[_Idle]] = {}
        self._sweep: Deadline | None = None
        self._sweeps = 0
        """Sweeps so far: what was put here before the last one has been idle for a whole one."""

    def take(self, key: ConnectionKey) -> tuple[Connection, ModelConnection] | None:
        """One on which nothing has come since its last answer; None where there is none."""
        waiting = self._connections.get(key)
        while waiting:
            connection, protocol, _ = waiting.pop()
            if protocol.is_quiet:
                return connection, protocol
            connection.close()
        return None

    def put(self, key: ConnectionKey, connection: Connection, protocol: ModelConnection) -> None:
        """Keep one whose answer has ended; it is closed instead where it cannot be kept."""
        if protocol.should_close:
            connection.close()
            return
        waiting = self._connections.get(key)
        if waiting is None:
            waiting = self._connections[key] = deque()
        waiting.append((connection, protocol, self._sweeps))
        if self._sweep is None:
            self._sweep = self._wheel.start(self._keepalive_s / 2, self._close_old)

    def close(self) -> None:
        for waiting in self._connections.values():
            for connection, _, _ in waiting:
                connection.close()
        self._connections.clear()
        if self._sweep is not None:
            self._sweep.end()
            self._sweep = None

    def _close_old(self) -> None:
        self._sweep = None
        self._sweeps += 1
        for key, waiting in list(self._connections.items()):
            # The oldest stand first.
            while waiting and waiting[0][2] < self._sweeps - 1:
                waiting.popleft()[0].close()
            if not waiting:
                del self._connections[key]
        if self._connections:
            self._sweep = self._wheel.start(self._keepalive_s / 2, self._close_old)
