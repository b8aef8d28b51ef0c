"""The smallest possible parent of several workers: start, watch, replace, drain."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import structlog

_log = structlog.get_logger("gateway.workers")
READY_TIMEOUT_S = 60.0
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 5.0
# A worker that lived this long died of something else than its start.
_HEALTHY_AFTER_S = 30.0
DRAIN = b"drain\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCommand:
    """How to start a worker: its command line without the number, and what it inherits."""

    arguments: tuple[str, ...]
    listen_fd: int
    admin_paths: Sequence[str]
    """One unix socket a worker, for its metrics."""


class WorkerFailedError(Exception):
    """A worker did not come up; its own log says why."""


@dataclass(slots=True)
class _Worker:
    process: Process
    is_leaving: bool = False
    """It was asked to go: its end is no accident."""


class WorkerPool:
    """Keeps `count` workers on one inherited listening socket.

    They share the kernel's one queue of connections, so that none is lost with a worker that goes.
    Each reads its standard input: a line asks it to drain, the end of it, which comes with the
    parent's death however that dies, to go at once.
    """

    def __init__(self, command: WorkerCommand) -> None:
        self._command = command
        self._workers: dict[int, _Worker] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._is_stopping = False

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers.values()]

    async def start(self) -> dict[str, object]:
        """Start every worker; returns what the first says of itself.

        Raises:
            WorkerFailedError: one did not come up.
        """
        count = len(self._command.admin_paths)
        started = await asyncio.gather(*(self._start(number) for number in range(count)))
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(number)) for number in range(count)]
        return started[0]

    async def replace_all(self) -> None:
        """One after the other: the new one serves before the old one drains."""
        for number in range(len(self._command.admin_paths)):
            old = self._workers[number]
            old.is_leaving = True
            try:
                await self._start(number)
            except WorkerFailedError as exc:
                # The old one goes on: a release that does not start changes nothing.
                self._workers[number] = old
                old.is_leaving = False
                _log.error("workers.not_replaced", number=number, error=str(exc))
                return
            self._keepers.append(asyncio.get_running_loop().create_task(self._keep(number)))
            _ask_to_drain(old)
        _log.info("workers.replaced", pids=self.pids)

    async def drain(self) -> None:
        """Ask every worker to end its streams, and wait for that."""
        self._is_stopping = True
        for worker in self._workers.values():
            _ask_to_drain(worker)
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def kill(self) -> None:
        """End all at once; their journals keep what they had to write."""
        self._is_stopping = True
        for worker in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGKILL)

    async def _start(self, number: int) -> dict[str, object]:
        command = self._command
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command.arguments,
            "--number",
            str(number),
            "--listen-fd",
            str(command.listen_fd),
            "--admin-path",
            command.admin_paths[number],
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(command.listen_fd,),
        )
        self._workers[number] = _Worker(process)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await process.stdout.readline()
        except TimeoutError:
            process.kill()
            line = b""
        if not line:
            status = await process.wait()
            raise WorkerFailedError(f"worker {number} ended with {status} before it served")
        described: dict[str, object] = orjson.loads(line)
        return described

    async def _keep(self, number: int) -> None:
        """Wait for a worker's end; start another where nobody asked for it."""
        backoff_s = _BACKOFF_FIRST_S
        loop = asyncio.get_running_loop()
        while True:
            worker, started_s = self._workers[number], loop.time()
            status = await worker.process.wait()
            if self._is_stopping or worker.is_leaving:
                return
            if loop.time() - started_s > _HEALTHY_AFTER_S:
                backoff_s = _BACKOFF_FIRST_S
            _log.error("workers.died", number=number, pid=worker.process.pid, status=status)
            while not self._is_stopping:
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
                try:
                    await self._start(number)
                except WorkerFailedError as exc:
                    _log.error("workers.not_started", number=number, error=str(exc))
                else:
                    _log.info("workers.restarted", number=number)
                    break


def _ask_to_drain(worker: _Worker) -> None:
    stdin = worker.process.stdin
    assert stdin is not None
    worker.is_leaving = True
    with contextlib.suppress(ConnectionError, RuntimeError):
        stdin.write(DRAIN)
