"""The directory of keys, in this process: first look-ups, and all of them known."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.processes import cpu_s, rss_kb
from gateway.auth.directory import KeyDirectory
from gateway.postgres.connection import DedicatedConnection
from scripts.scale.databases import key_of
from scripts.scale.site import CLOCK, say
from scripts.scale.timing import lap_us, timed_ms


@asynccontextmanager
async def directory_on(url: str) -> AsyncIterator[KeyDirectory]:
    connection = DedicatedConnection(url, application_name="scale-keys")
    directory = KeyDirectory(connection, clock=CLOCK)
    await directory.start()
    await asyncio.sleep(0.2)
    try:
        yield directory
    finally:
        await directory.close()
        await connection.close()


async def bench_directory(url: str, keys: int) -> None:
    """First look-up of a key, then all of them known: look-up, memory, the time to get there."""
    async with directory_on(url) as directory:
        numbers = iter(range(1, 201))
        first_ms = await timed_ms(
            lambda: directory.authenticate(key_of(next(numbers))), min(200, keys)
        )
        gc.collect()
        rss_before, started_s, cpu_before_s = (
            rss_kb([os.getpid()]),
            time.monotonic(),
            cpu_s(os.getpid()),
        )
        for begin in range(1, keys + 1, 1000):
            texts = map(key_of, range(begin, min(begin + 1000, keys + 1)))
            await asyncio.gather(*map(directory.authenticate, texts))
        filled_s, own_s = time.monotonic() - started_s, cpu_s(os.getpid()) - cpu_before_s
        gc.collect()
        rss_mb = (rss_kb([os.getpid()]) - rss_before) / 1024
        step = max(1, keys // 20_000)
        spread = range(1, keys + 1, step)
        names = {number: key_of(number) for number in spread}
        assert all(directory.find(names[number]) for number in spread)
        find_us = lap_us(lambda number: directory.find(names[number]), spread)
        names = {1: key_of(1)}
        one_us = lap_us(lambda number: directory.find(names[number]), [1] * 20_000)
        say(
            f"  {keys:>9,} keys: first look-up {first_ms:.2f} ms; all known after {filled_s:.1f} s "
            f"({own_s / keys * 1e6:.0f} us CPU a key), +{rss_mb:.0f} MB; look-up {find_us:.2f} us "
            f"over all, {one_us:.2f} us of one"
        )
        started_s = time.perf_counter()
        directory.on_listener_connected()
        stall_ms = (time.perf_counter() - started_s) * 1e3
        started_s = time.perf_counter()
        directory.on_key_changed("1")
        say(
            f"            a reconnect blocks {stall_ms:.1f} ms, "
            f"a revocation {(time.perf_counter() - started_s) * 1e3:.3f} ms"
        )
