"""Opens the listeners of a worker: clients on a port of its own or an inherited one, admins."""

import os
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from aiohttp import web

from gateway.app.books import Ledger
from gateway.app.descriptors import clients_max
from gateway.app.timeouts import Timeouts
from gateway.config import Config
from gateway.edge.admin import AdminEdge
from gateway.edge.calls import CallEdge
from gateway.edge.clients import ClientEdge
from gateway.edge.health import Readiness
from gateway.edge.server import ClientServer, QuietServer
from gateway.proxy.lifecycle import Proxy
from gateway.reports.overview import OverviewReport
from gateway.telemetry.metrics import Metrics

_log = structlog.get_logger("gateway.app")
# Clients that connect in one moment. The framework's own 128 turned away the rest, which asked
# again after one second, three, seven; the kernel cuts it to its `somaxconn`.
BACKLOG = 8192


class CannotListenError(Exception):
    """The address of the client listener cannot be had; the message says what to do."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        # The number's own text: what the loop makes of it repeats the address.
        is_name = isinstance(error, socket.gaierror) or error.errno is None
        reason = error.strerror if is_name else os.strerror(error.errno or 0)
        super().__init__(f"cannot listen on {host}:{port}: {reason}; choose --host and --port")


def url_of(host: str, port: int) -> str:
    """As a client writes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def listen_for_admins(
    stack: AsyncExitStack,
    config: Config,
    ledger: Ledger,
    metrics: Metrics,
    readiness: Readiness,
    *,
    path: Path | None,
) -> str | None:
    """Returns the address, None where the port cannot be had: serving is worth more."""

    async def exposition() -> tuple[bytes, str]:
        return metrics.render()

    if path is not None:
        admin = AdminEdge(exposition=exposition, readiness=readiness, token=None, is_private=True)
        runner = await _runner(stack, admin)
        await web.UnixSite(runner, path).start()
        return None
    admin = AdminEdge(
        exposition=exposition,
        readiness=readiness,
        token=config.admin.token,
        overview=OverviewReport(ledger.report_connection),
    )
    return await open_admin_port(stack, config, admin)


async def open_admin_port(stack: AsyncExitStack, config: Config, admin: AdminEdge) -> str | None:
    runner = await _runner(stack, admin)
    site = web.TCPSite(runner, config.admin.host, config.admin.port)
    try:
        await site.start()
    except OSError as exc:
        _log.error(
            "admin.unavailable", host=config.admin.host, port=config.admin.port, error=str(exc)
        )
        return None
    return url_of(config.admin.host, runner.addresses[0][1])


async def _runner(stack: AsyncExitStack, admin: AdminEdge) -> web.ServerRunner:
    runner = web.ServerRunner(QuietServer(admin.handle))
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def listen_for_clients(
    stack: AsyncExitStack,
    config: Config,
    edge: ClientEdge,
    calls: CallEdge,
    proxy: Proxy,
    readiness: Readiness,
    *,
    timeouts: Timeouts,
    listener: socket.socket | None,
) -> str:
    """Returns the address.

    Raises:
        CannotListenError: the port is taken, or the host is not this machine's.
    """
    server = ClientServer(
        edge,
        calls,
        connections_max=clients_max(),
        idle_timeout_s=timeouts.idle_client_s,
        head_timeout_s=timeouts.request_head_s,
    )
    drain_timeout_s = timeouts.shutdown_s
    runner = web.ServerRunner(server, shutdown_timeout=drain_timeout_s)
    await runner.setup()

    async def stop_serving() -> None:
        """Readiness first, then no new connections, then running streams to their end."""
        readiness.is_ready = False
        for site in list(runner.sites):
            await site.stop()
        await server.let_requests_arrive(quiet_s=timeouts.last_request_s, timeout_s=drain_timeout_s)
        await runner.cleanup()
        await proxy.relays.drain(drain_timeout_s)

    stack.push_async_callback(stop_serving)
    site: web.BaseSite
    if listener is not None:
        site = web.SockSite(runner, listener, backlog=BACKLOG)
    else:
        host, port = config.listen.host, config.listen.port
        site = web.TCPSite(runner, host, port, reuse_port=False, backlog=BACKLOG)
    try:
        await site.start()
    except OSError as exc:
        raise CannotListenError(config.listen.host, config.listen.port, exc) from exc
    return url_of(config.listen.host, runner.addresses[0][1])
