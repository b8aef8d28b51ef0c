"""A request's body as it arrives on a connection of ours, within its declared length."""

import asyncio

from gateway.domain.errors import OverloadedError, RequestTimeoutError
from gateway.domain.ids import TeamId
from gateway.edge.intake import Arrival, Intake

# Of a body that nobody has asked for yet: its sender has not said who it is.
UNASKED_BYTES_MAX = 64 * 1024


class IncomingBody:
    """Fed by the connection; read once, by the handler."""

    __slots__ = (
        "_arrival",
        "_content_bytes",
        "_missing_bytes",
        "_pieces",
        "_timeout",
        "_transport",
        "_waiter",
        "is_held",
    )

    def __init__(self, transport: asyncio.Transport, content_bytes: int) -> None:
        self._transport = transport
        self._content_bytes = content_bytes
        self._missing_bytes = content_bytes
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._arrival: Arrival | None = None
        self._timeout: asyncio.Timeout | None = None
        self.is_held = False
        """The connection is not read, until somebody asks for the body."""

    @property
    def is_whole(self) -> bool:
        return self._missing_bytes == 0

    @property
    def _arrived_bytes(self) -> int:
        return self._content_bytes - self._missing_bytes

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns what follows it."""
        missing_bytes = self._missing_bytes
        if len(data) <= missing_bytes:
            rest = b""
        else:
            data, rest = data[:missing_bytes], data[missing_bytes:]
        self._pieces.append(data)
        self._missing_bytes = missing_bytes = missing_bytes - len(data)
        if missing_bytes == 0:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        elif self._timeout is not None and self._arrival is not None:
            self._go_on(self._timeout, self._arrival, len(data))
        elif self._waiter is None and not self.is_held:
            self._hold()
        return rest

    async def whole(self, intake: Intake, team_id: TeamId) -> bytes:
        """All of it, once it is there.

        Raises:
            RequestTimeoutError: the client sends it too slowly, or nothing for so long.
            OverloadedError: too much of other bodies is here.
        """
        if self._missing_bytes:
            await self._wait(Arrival(intake, team_id))
        return self.pieces_joined()

    def pieces_joined(self) -> bytes:
        """What is there of it."""
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def drop(self) -> None:
        """Nobody wants what has come, nor what comes yet."""
        self._pieces.clear()
        self._release()

    def _hold(self) -> None:
        if self._arrived_bytes > UNASKED_BYTES_MAX:
            self.is_held = True
            self._transport.pause_reading()

    def _release(self) -> None:
        if self.is_held and not self._transport.is_closing():
            self._transport.resume_reading()
        self.is_held = False

    async def _wait(self, arrival: Arrival) -> None:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            deadline_s = arrival.add(self._arrived_bytes)
            self._release()
            self._arrival = arrival
            async with asyncio.timeout_at(deadline_s) as self._timeout:
                await waiter
        except TimeoutError as exc:
            raise RequestTimeoutError from exc
        finally:
            self._timeout = None
            arrival.end()

    def _go_on(self, timeout: asyncio.Timeout, arrival: Arrival, more_bytes: int) -> None:
        try:
            timeout.reschedule(arrival.add(more_bytes))
        except OverloadedError as exc:
            self._timeout = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(exc)
