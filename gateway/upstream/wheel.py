"""Coarse deadlines for all streams on one timer: moving one is an addition, no call to the loop."""

import asyncio
from collections.abc import Callable

TICK_S = 0.5


class Deadline:
    """Runs its callback once, at most two ticks after its delay; `end` it when it has no use."""

    __slots__ = ("_bucket", "_due", "_on_due", "_ticks", "_wheel")

    def __init__(self, wheel: "DeadlineWheel", ticks: int, on_due: Callable[[], None]) -> None:
        self._wheel = wheel
        self._ticks = ticks
        self._on_due: Callable[[], None] | None = on_due
        self._due = self._bucket = wheel.now_ticks + ticks
        wheel.put(self._bucket, self)

    def restart(self) -> None:
        """Begin the delay anew."""
        self._due = self._wheel.now_ticks + self._ticks

    def end(self) -> None:
        """Never run; harmless where it has run."""
        self._on_due = None
        self._wheel.remove(self._bucket, self)

    def fire(self) -> None:
        """Its bucket has come: run the callback, or wait on where the delay was begun anew."""
        if self._on_due is None:
            return
        if self._due > self._wheel.now_ticks:
            self._bucket = self._due
            self._wheel.put(self._bucket, self)
            return
        on_due, self._on_due = self._on_due, None
        on_due()


class DeadlineWheel:
    """Deadlines in buckets by tick. Its timer runs while there is something to wait for."""

    def __init__(self, *, tick_s: float = TICK_S) -> None:
        self.now_ticks = 0
        self._tick_s = tick_s
        self._buckets: dict[int, set[Deadline]] = {}
        self._seen_ticks = 0
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, delay_s: float, on_due: Callable[[], None]) -> Deadline:
        if self._timer is None:
            self._seen_ticks = self.now_ticks = self._ticks_now()
            self._timer = self._loop.call_later(self._tick_s, self._tick)
        # Rounded up, and one more: the present tick has partly gone.
        return Deadline(self, 1 - int(-delay_s // self._tick_s), on_due)

    def put(self, bucket: int, deadline: Deadline) -> None:
        waiting = self._buckets.get(bucket)
        if waiting is None:
            self._buckets[bucket] = {deadline}
        else:
            waiting.add(deadline)

    def remove(self, bucket: int, deadline: Deadline) -> None:
        waiting = self._buckets.get(bucket)
        if waiting is not None:
            waiting.discard(deadline)
            if not waiting:
                del self._buckets[bucket]

    def close(self) -> None:
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ticks_now(self) -> int:
        return int((self._loop.time() - self._began_s) / self._tick_s)

    def _tick(self) -> None:
        self._timer = None
        self.now_ticks = self._ticks_now()
        for tick in range(self._seen_ticks + 1, self.now_ticks + 1):
            for deadline in self._buckets.pop(tick, ()):
                deadline.fire()
        self._seen_ticks = self.now_ticks
        if self._buckets and self._timer is None:
            self._timer = self._loop.call_later(self._tick_s, self._tick)
