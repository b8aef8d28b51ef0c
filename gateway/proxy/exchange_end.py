"""How the end of an exchange is told, and the one timer that an exchange may have."""

import asyncio
from collections.abc import Callable

from gateway.domain.errors import GatewayError

OnEnd = Callable[[GatewayError | None], None]
"""Told of the end of an exchange: None, or why nothing has reached the client."""


class ExchangeEnd:
    """Tells whoever was promised it by a callback, else the coroutine that waits."""

    __slots__ = ("_on_end", "_waiter")

    def __init__(self) -> None:
        self._on_end: OnEnd | None = None
        self._waiter: asyncio.Future[None] | None = None

    def promise(self, on_end: OnEnd) -> None:
        self._on_end = on_end

    def expect(self) -> "asyncio.Future[None]":
        """Made before anything can happen; to be awaited later."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def tell(self, error: GatewayError | None) -> None:
        """In a turn of the loop of its own; telling it again changes nothing."""
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            asyncio.get_running_loop().call_soon(on_end, error)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class OneTimer:
    """Starting it again is to wait anew."""

    __slots__ = ("_handle",)

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def start(self, delay_s: float, on_due: Callable[[], None]) -> None:
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(delay_s, on_due)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
