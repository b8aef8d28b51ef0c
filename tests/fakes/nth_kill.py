"""Forks one gateway an order, which kills itself at the Nth point: `python -m tests.fakes.nth_kill`.

The process imports everything once and never has an event loop or a thread, so that a fork of it is
safe. An order is a line of JSON on standard input; then the child reads its own there, `arm` and
`stop`, and the parent goes on once the child is dead. What happens is a line of JSON each on
standard output.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import structlog

from gateway.app import Timeouts, serving
from gateway.config import Config
from tests.fakes.nth_step import NthStep, die

_TIMEOUTS = Timeouts(shutdown_s=5, gone_client_s=2)


class NthTurn:
    """Kills after the Nth callback that the loop has run since it was armed.

    Every step of every task is such a callback, and so is everything that a protocol is told: this
    has all suspension points of all tasks, the poster's and the budget's among them.
    """

    def __init__(self) -> None:
        self._left = 0
        run = asyncio.Handle._run

        def counted(handle: asyncio.Handle) -> None:
            run(handle)
            if self._left:
                self._left -= 1
                if not self._left:
                    die()

        asyncio.Handle._run = counted

    def arm(self, number: int) -> None:
        self._left = number + 1  # The callback that arms is none.

    def disarm(self) -> None:
        self._left = 0


class NthAwait:
    """Kills at the Nth suspension of the task that serves the client."""

    def __init__(self) -> None:
        self._steps = NthStep()
        asyncio.get_running_loop().set_task_factory(self._steps)

    def arm(self, number: int) -> None:
        self._steps.arm("kill", number)

    def disarm(self) -> None:
        self._steps.disarm()


def say(**words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


async def serve(order: dict[str, Any]) -> None:
    """Until told to stop, or until nobody is left who could tell."""
    points = NthTurn() if order["kind"] == "turn" else NthAwait()
    stop = asyncio.Event()

    def read() -> None:
        if os.read(0, 100) == b"arm\n":
            points.arm(order["number"])
            say(armed=True)
        else:
            points.disarm()
            stop.set()

    config = Config.from_env(order["environment"])
    url = order["database_url"]
    async with serving(config, database_url=url, is_embedded=False, timeouts=_TIMEOUTS) as running:
        asyncio.get_running_loop().add_reader(0, read)
        say(url=running.url)
        await stop.wait()
        asyncio.get_running_loop().remove_reader(0)


def live(order: dict[str, Any]) -> None:
    """As the child: never returns to the loop of orders."""
    status = 1
    try:
        asyncio.run(serve(order))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    # Standard output is for what is said.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread does not survive a fork"
    while line := sys.stdin.readline():
        if not line.startswith("{"):
            continue  # Meant for a child that was dead by then.
        if (pid := os.fork()) == 0:
            live(json.loads(line))
        _, status = os.waitpid(pid, 0)
        say(status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
