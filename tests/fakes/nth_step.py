"""Counts the steps of the tasks that serve clients, and does something at the Nth of them."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Literal

from typing_extensions import override

Fault = Literal["cancel", "late cancel", "exception", "kill"]
# The tasks that answer a request: aiohttp's, and that of a connection of our own. Both are cancelled
# when a client leaves.
_SERVING = ("RequestHandler._handle_request", "CallConnection._run")


class InjectedError(Exception):
    """An error that nobody expects."""


class NthStep:
    """A task factory. Armed, it hurts one serving task at its Nth suspension point.

    `cancel` cancels the task while it waits, `late cancel` and `exception` come instead of what it
    waited for, which has happened by then. `kill` ends the whole process, with no word to anybody.
    """

    def __init__(self) -> None:
        self.count = 0
        self.at = 0
        self.fault: Fault = "cancel"
        self.has_struck = False

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> "asyncio.Task[Any]":
        if not getattr(coroutine, "__qualname__", "").startswith(_SERVING):
            return asyncio.Task(coroutine, loop=loop, **options)
        stepped = _Stepped(coroutine, self)
        stepped.task = asyncio.Task(stepped, loop=loop, **options)
        return stepped.task

    def arm(self, fault: Fault, at: int) -> None:
        """At step `at`, from 1 on."""
        self.fault, self.at, self.count, self.has_struck = fault, at, 0, False

    def disarm(self) -> None:
        self.at = 0

    def is_now(self) -> bool:
        """Count one suspension point."""
        self.count += 1
        if self.has_struck or self.count != self.at:
            return False
        self.has_struck = True
        return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that is driven like the one in it, but for one step."""

    def __init__(self, inner: Coroutine[Any, Any, Any], steps: NthStep) -> None:
        self._inner = inner
        self._steps = steps
        self._throw_next: BaseException | None = None
        self.task: asyncio.Task[Any] | None = None

    @override
    def send(self, value: Any) -> Any:
        error, self._throw_next = self._throw_next, None
        return self._suspended(
            self._inner.send(value) if error is None else self._inner.throw(error)
        )

    @override
    def throw(self, *error: Any) -> Any:
        self._throw_next = None
        return self._suspended(self._inner.throw(*error))

    @override
    def close(self) -> None:
        self._inner.close()

    @override
    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def _suspended(self, waits_for: Any) -> Any:
        """It waits now for what it has given."""
        if self._steps.is_now():
            if self._steps.fault == "kill":
                die()
            elif self._steps.fault == "cancel":
                self._soon(self._cancel)
            elif self._steps.fault == "late cancel":
                self._throw_next = asyncio.CancelledError()
            else:
                self._throw_next = InjectedError()
        return waits_for

    def _soon(self, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(act)

    def _cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()
