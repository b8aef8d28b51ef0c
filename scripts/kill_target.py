"""The product that is killed: its processes, and how each is ended and comes back."""

import asyncio
import os
import random
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from gateway.ledger.journal_files import writers_in
from gateway.postgres.connection import Connection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from scripts.kill_clients import PRODUCTS
from tests.fixtures.process import GatewayProcess

_BACK_TIMEOUT_S = 60.0
_POLL_S = 0.05
_START_PAUSE_S = 0.2


class Target:
    """`gateway serve` on a port that stays the same, before a PostgreSQL of ours or its own."""

    def __init__(
        self, root: Path, *, provider_url: str, workers: int, server: EmbeddedPostgres | None
    ) -> None:
        """Without a `server` the gateway runs its embedded one, which falls with it."""
        self.data_dir = root / "data"
        self._workers = workers
        self._server = server
        self._owner = server or EmbeddedPostgres(self.data_dir)
        self._postmaster_file = (
            root if server else self.data_dir
        ) / "postgres/cluster/postmaster.pid"
        self._port = _free_port()
        self._settings = {
            "GATEWAY_PORT": str(self._port),
            "GATEWAY_LOG_LEVEL": "warning",
            "GATEWAY_PRODUCTS": ",".join(PRODUCTS),
            "GATEWAY_ANTHROPIC_BASE_URL": f"{provider_url}/anthropic",
            "GATEWAY_ANTHROPIC_API_KEY": "sk-ant-none",
            "GATEWAY_OPENAI_BASE_URL": f"{provider_url}/openai/v1",
            "GATEWAY_OPENAI_API_KEY": "sk-none",
        }
        if server is not None:
            self._settings["GATEWAY_DATABASE_URL"] = server.url()
        self._process: GatewayProcess | None = None
        self.log = ""
        self.failed_starts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Until it serves: what was killed may have the port still, or PostgreSQL repair itself."""
        deadline_s = time.monotonic() + _BACK_TIMEOUT_S
        while True:
            try:
                self._process = await asyncio.to_thread(
                    GatewayProcess,
                    self.data_dir,
                    "--workers",
                    str(self._workers),
                    **self._settings,
                )
            except AssertionError:
                self.failed_starts += 1
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(_START_PAUSE_S)
            else:
                return

    async def kill_gateway(self) -> None:
        """SIGKILL to the process that was started; its workers and its database see it go."""
        process = self._process
        assert process is not None
        await asyncio.to_thread(process.kill)
        self.log = process.log[-20000:]

    async def kill_worker(self, dice: random.Random) -> bool:
        """SIGKILL to one of the workers, whatever it does, starting up included."""
        assert self._process is not None
        pids = _children(self._process.pid, b"worker")
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(dice.choice(pids), signal.SIGKILL)
        return True

    def kill_postgres(self, dice: random.Random) -> None:
        """SIGKILL to the server, or to one of its sessions, for which it ends all the others."""
        postmaster = self._postmaster()
        sessions = _children(postmaster, b"gateway") if postmaster else []
        victim = dice.choice(sessions) if sessions and dice.random() < 0.4 else postmaster
        if victim is not None:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    async def wait_until_whole(self) -> None:
        """As many workers as there should be, each with its journal, and none of the dead."""
        async with asyncio.timeout(_BACK_TIMEOUT_S):
            while len(writers_in(self.data_dir / "journal")) != self._workers:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        if self._process is not None:
            await asyncio.to_thread(self._process.__exit__)

    async def verify(self) -> bool:
        """`gateway ledger verify`, as finance runs it."""
        assert self._process is not None
        verified = await asyncio.to_thread(self._process.command, "ledger", "verify")
        return bool(verified["balanced"])

    async def database(self) -> Connection:
        """A connection, once the server takes one."""
        deadline_s = time.monotonic() + _BACK_TIMEOUT_S
        while True:
            try:
                return await connect(self._owner.url(), application_name="kill-audit")
            except Exception:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(_POLL_S)

    def _postmaster(self) -> int | None:
        try:
            return int(self._postmaster_file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None


def _children(parent: int, word: bytes) -> list[int]:
    """Living children whose command line has the word in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) == parent and word in command and stat[0] != "Z":
            found.append(int(entry.name))
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
