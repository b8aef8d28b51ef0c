"""The process that forks the gateways which are killed, seen from the one that gives orders."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any, Self

_CHECKOUT = Path(__file__).parents[1]


class Zygote:
    """`async with Zygote() as zygote`: the process that forks gateways, one at a time."""

    async def __aenter__(self) -> Self:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "AWS_"))}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.nth_kill"),
            stdin=PIPE,
            stdout=PIPE,
            cwd=_CHECKOUT,
            env=inherited,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # The end of its input ends it, and a child that still runs.
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def start(self, order: dict[str, Any]) -> str:
        """The new gateway's address."""
        self._say(json.dumps(order))
        return str((await self._hear())["url"])

    async def arm(self) -> None:
        self._say("arm")
        assert (await self._hear())["armed"]

    def stop(self) -> None:
        self._say("stop")

    async def status(self) -> int:
        """How the gateway ended."""
        return int((await self._hear())["status"])

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        heard: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return heard
