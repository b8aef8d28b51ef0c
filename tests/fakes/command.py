"""The real command in a process of its own, as operators run it."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import run

_CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    status: int
    stdout: bytes
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[str]:
        return self.stderr.splitlines()


async def gateway(*arguments: str, **environ: str) -> Finished:
    """Run `python -m gateway ...`; of our settings it has only those that are given."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *arguments,
        cwd=_CHECKOUT,
        env={**clean, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, stdout, stderr.decode())


async def ran(capsys: pytest.CaptureFixture[str], *commands: str) -> list[Finished]:
    """One after the other in this process, which is quicker; the environment is this one."""
    finished = []
    for each in commands:
        status = await asyncio.to_thread(run, each.split())
        printed = capsys.readouterr()
        finished.append(Finished(status, printed.out.encode(), printed.err))
    return finished


async def gateways(*commands: str, **environ: str) -> list[Finished]:
    """Several at once; the words of a command are parted by spaces."""
    return list(await asyncio.gather(*(gateway(*each.split(), **environ) for each in commands)))
