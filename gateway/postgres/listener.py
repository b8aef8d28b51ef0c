"""LISTEN on a connection of its own, for ever: what was missed meanwhile is read anew."""

import asyncio
import random
from collections.abc import Callable, Mapping

import structlog

from gateway.postgres.connection import Connection, connect

_log = structlog.get_logger("gateway.postgres")
_CONNECT_TIMEOUT_S = 5.0
_BACKOFF_MIN_S = 0.05
_BACKOFF_MAX_S = 2.0


class Listener:
    """Calls back for every notification, and after every (re)connect, when any may be missing."""

    def __init__(
        self,
        url: str,
        channels: Mapping[str, Callable[[str], None]],
        *,
        on_connected: Callable[[], None],
        heartbeat_s: float = 5.0,
        heartbeat_timeout_s: float = 2.0,
    ) -> None:
        self._url = url
        self._channels = dict(channels)
        self._on_connected = on_connected
        self._heartbeat_s = heartbeat_s
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._is_connected = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """As far as the last heartbeat knows."""
        return self._is_connected

    def start(self) -> None:
        """Begin to connect; a database that is down is no error."""
        assert self._task is None
        self._task = asyncio.create_task(  # noqa: TID251 - kept, cancelled and awaited in close().
            self._run(), name="postgres-listener"
        )

    async def close(self) -> None:
        """End at once, whatever the server does."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            self._is_connected = False

    async def _run(self) -> None:
        backoff_s = _BACKOFF_MIN_S
        while True:
            try:
                await self._listen_until_lost()
            # Whatever went wrong with one connection, the next one may work.
            except Exception as exc:  # noqa: BLE001
                if self._is_connected or backoff_s == _BACKOFF_MIN_S:
                    _log.warning("postgres.listener_lost", error=f"{type(exc).__name__}: {exc}")
            if self._is_connected:
                self._is_connected = False
                backoff_s = _BACKOFF_MIN_S
            # Workers that lost one server together do not come back to it in step.
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret.
            backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)

    async def _listen_until_lost(self) -> None:
        connection = await connect(
            self._url, application_name="gateway-listen", timeout_s=_CONNECT_TIMEOUT_S
        )
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                for channel in self._channels:
                    await connection.add_listener(channel, self._notified)
            self._is_connected = True
            # After LISTEN, so that a change is either read now or notified.
            _call(self._on_connected)
            await self._watch(connection, lost)
        finally:
            connection.terminate()

    async def _watch(self, connection: Connection, lost: asyncio.Event) -> None:
        """Return when the connection is lost; raise TimeoutError when the server hangs."""
        while not lost.is_set():
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await lost.wait()
            except TimeoutError:
                # A peer that vanished without a word leaves a connection that looks open.
                async with asyncio.timeout(self._heartbeat_timeout_s):
                    await connection.execute("SELECT 1")
        raise ConnectionResetError("the server closed the connection")

    def _notified(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        _call(self._channels[channel], str(payload))


def _call(callback: Callable[..., None], *arguments: str) -> None:
    """A callback's bug costs its own reader, never the notifications of the others."""
    try:
        callback(*arguments)
    except Exception:  # noqa: BLE001 - see above.
        _log.exception("postgres.listener_callback_failed")
