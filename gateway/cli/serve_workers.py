"""The parent of several workers: the listening socket, the pool, the admin port, the signals."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import structlog

from gateway.app.listeners import BACKLOG, CannotListenError, open_admin_port, url_of
from gateway.cli.session import CommandError
from gateway.cli.worker_pool import WorkerCommand, WorkerFailedError, WorkerPool
from gateway.config import Config
from gateway.edge.admin import AdminEdge
from gateway.edge.health import Readiness
from gateway.postgres.connection import DedicatedConnection
from gateway.reports.overview import OverviewReport
from gateway.telemetry.merge import merged

_log = structlog.get_logger("gateway.serve")
_SCRAPE_TIMEOUT_S = 5.0
SECOND_SIGNAL_STATUS = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What a start says of itself."""

    url: str
    admin_url: str | None
    is_simulated: bool


async def serve_with_workers(
    config: Config,
    database_url: str,
    embedded_url: str | None,
    announce: Callable[[Serving], Awaitable[None]],
) -> None:
    """Run the pool until a signal: SIGTERM drains, a second one ends, SIGHUP replaces workers.

    Raises:
        CannotListenError: the port cannot be had.
        CommandError: a worker does not come up.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-"))
        listener = stack.enter_context(_listener(config))
        paths = [f"{directory}/worker-{number}.sock" for number in range(config.listen.workers)]
        arguments = ["-m", "gateway", "worker"]
        if embedded_url is not None:
            arguments += ["--embedded-url", embedded_url]
        pool = WorkerPool(
            WorkerCommand(
                arguments=tuple(arguments), listen_fd=listener.fileno(), admin_paths=paths
            )
        )
        stop = _on_signals(pool)
        try:
            first = await pool.start()
        except WorkerFailedError as exc:
            pool.kill()
            raise CommandError(f"{exc}: its log says why") from exc
        readiness = Readiness(is_ready=True)
        admin_url = await _admin(stack, config, database_url, paths, readiness)
        port = listener.getsockname()[1]
        await announce(
            Serving(
                url=url_of(config.listen.host, port),
                admin_url=admin_url,
                is_simulated=bool(first["simulated"]),
            )
        )
        await stop.wait()
        readiness.is_ready = False
        _log.info("serve.draining", workers=len(pool.pids))
        await pool.drain()
    _log.info("serve.stopped")


def _listener(config: Config) -> socket.socket:
    """Bound and listening: the workers accept from its one queue."""
    listen = config.listen
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        listener = socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG)
    except OSError as exc:
        raise CannotListenError(listen.host, listen.port, exc) from exc
    listener.setblocking(False)
    return listener


def _on_signals(pool: WorkerPool) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    replacing: set[asyncio.Task[None]] = set()

    def ended() -> None:
        if stop.is_set():
            pool.kill()
            # What is not posted stands in the journals; the next start posts it.
            os._exit(SECOND_SIGNAL_STATUS)
        stop.set()

    def replace() -> None:
        if not replacing:
            task = loop.create_task(pool.replace_all())
            replacing.add(task)
            task.add_done_callback(replacing.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended)
    loop.add_signal_handler(signal.SIGHUP, replace)
    return stop


async def _admin(
    stack: AsyncExitStack,
    config: Config,
    database_url: str,
    paths: list[str],
    readiness: Readiness,
) -> str | None:
    connection = DedicatedConnection(database_url, application_name="gateway-report")
    stack.push_async_callback(connection.close)

    async def exposition() -> tuple[bytes, str]:
        return merged(await asyncio.gather(*(_scraped(Path(path)) for path in paths)))

    admin = AdminEdge(
        exposition=exposition,
        readiness=readiness,
        token=config.admin.token,
        overview=OverviewReport(connection),
    )
    return await open_admin_port(stack, config, admin)


async def _scraped(path: Path) -> str:
    """One worker's metrics; nothing from one that is just being replaced."""
    timeout = aiohttp.ClientTimeout(total=_SCRAPE_TIMEOUT_S)
    connector = aiohttp.UnixConnector(path=str(path))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://worker/metrics") as answer,
        ):
            return await answer.text()
    except (OSError, TimeoutError, aiohttp.ClientError):
        return ""
