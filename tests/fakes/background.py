"""An async context manager that lives in an event loop of its own, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Self, TypeVar

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
_TIMEOUT_S = 60.0


class Background(Generic[_Value]):
    """`with Background(lambda: thing()) as background: background.value`.

    Tests talk to it over sockets from whatever loop they have, and synchronous clients may block.
    What reaches the loop's exception handler fails the test at the end of the block.
    """

    def __init__(
        self,
        make: Callable[[], AbstractAsyncContextManager[_Value]],
        *,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self._make = make
        self._loop = loop_factory()
        self._stop = asyncio.Event()
        self._is_ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self.unhandled: list[str] = []
        self.value: _Value

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._is_ready.wait(_TIMEOUT_S):
            raise TimeoutError("the background did not start")
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the block in its own loop and wait for the end; a second call does nothing."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_TIMEOUT_S)
        assert not self._thread.is_alive(), "the background did not end"
        if self._failure is not None:
            raise self._failure
        assert not self.unhandled, self.unhandled

    def do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine over there and wait for it here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._unhandled)
        try:
            self._loop.run_until_complete(self._live())
        except BaseException as exc:
            self._failure = exc
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
            self._loop.close()
            self._is_ready.set()

    async def _live(self) -> None:
        async with self._make() as self.value:
            self._is_ready.set()
            await self._stop.wait()

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.unhandled.append(f"{context.get('message')}: {error!r}")
