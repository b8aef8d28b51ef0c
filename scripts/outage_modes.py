"""The ways in which a database is away, and what ends each."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

from gateway.postgres.connection import connect
from scripts.outage_scene import Scene

Mode = Literal["stopped", "frozen", "read-only", "answers lost", "restarted"]
MODES: tuple[Mode, ...] = ("stopped", "frozen", "read-only", "answers lost", "restarted")
HEAL_TIMEOUT_S = 60.0
POLL_S = 0.05


async def begin(scene: Scene, mode: Mode) -> Callable[[], Awaitable[None]]:
    """Begin an outage; returns what ends it."""
    proxy = scene.proxy

    async def restore() -> None:
        proxy.cut()
        await proxy.restore()

    match mode:
        case "stopped":
            proxy.refuse()
        case "frozen":
            proxy.freeze()
        case "answers lost":
            proxy.drop_answers()
        case "read-only":
            return await _read_only(scene)
        case "restarted":
            path = scene.data_dir / "server/postgres/cluster/postmaster.pid"
            os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
            return _reconnected(scene)
    return restore


async def _read_only(scene: Scene) -> Callable[[], Awaitable[None]]:
    """As on a standby after a failover: every session of the gateway's is one that cannot write."""
    name = await scene.database.fetchval("SELECT current_database()")
    await scene.database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    scene.proxy.cut()

    async def writable() -> None:
        await scene.database.execute("SET default_transaction_read_only = off")
        await scene.database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        scene.proxy.cut()

    return writable


def _reconnected(scene: Scene) -> Callable[[], Awaitable[None]]:
    async def again() -> None:
        await scene.database.close()
        async with asyncio.timeout(HEAL_TIMEOUT_S):
            while True:
                with suppress(Exception):
                    scene.database = await connect(
                        scene.server.url(), application_name="outage-test"
                    )
                    return
                await asyncio.sleep(POLL_S)

    return again
