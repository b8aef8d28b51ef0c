"""How long a call takes in this process: medians over many."""

import time
from collections.abc import Callable, Coroutine, Sequence
from statistics import median
from typing import Any


def lap_us(function: Callable[[int], object], numbers: Sequence[int]) -> float:
    """Median over five laps of the microseconds a call takes."""
    laps: list[float] = []
    for _ in range(5):
        started_s = time.perf_counter()
        for number in numbers:
            function(number)
        laps.append((time.perf_counter() - started_s) / len(numbers) * 1e6)
    return median(laps)


async def timed_ms(ask: Callable[[], Coroutine[Any, Any, object]], times: int) -> float:
    taken: list[float] = []
    for _ in range(times):
        started_s = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - started_s) * 1e3)
    return median(taken)
