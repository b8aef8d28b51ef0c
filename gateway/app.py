"""The composition root: builds every object of one worker and takes them down in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from gateway.auth.directory import KeyDirectory
from gateway.config import Config
from gateway.domain.clock import Clock, SystemClock
from gateway.domain.ids import new_entry_id
from gateway.edge.admin import AdminEdge
from gateway.edge.clients import ClientEdge
from gateway.edge.health import Readiness
from gateway.edge.information import Information
from gateway.edge.routes import RouteTable
from gateway.edge.server import QuietServer
from gateway.flags.cost_controls import CostControls
from gateway.ledger.journal import Journal
from gateway.ledger.lease_client import LeaseClient
from gateway.ledger.poster import Poster
from gateway.ledger.recovery import Recovery
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.listener import Listener
from gateway.pricing.book import PriceBook
from gateway.proxy.budget_desk import BudgetDesk
from gateway.proxy.lifecycle import Proxy
from gateway.proxy.preparation import Preparation, RoadPolicy
from gateway.proxy.pump import DRAIN_TIMEOUT_S
from gateway.proxy.settlement import Books
from gateway.reports.usage import UsageReport
from gateway.sim.provider import SimulatedProvider
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.sender import EventSender
from gateway.upstream.configured import configured
from gateway.upstream.exchange import IDLE_TIMEOUT_S, Upstream
from gateway.upstream.providers import Providers
from gateway.upstream.sigv4 import BedrockSigner

_log = structlog.get_logger("gateway.app")
_POST_TIMEOUT_S = 10.0
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long this worker waits for others; tests wait less."""

    shutdown_s: float = 600.0
    """For running streams, at the end."""
    upstream_idle_s: float = IDLE_TIMEOUT_S
    """For the next byte of a provider."""
    gone_client_s: float = DRAIN_TIMEOUT_S
    """For the bill of a stream whose client has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A worker that serves: its addresses, and what its owner waits for at the end."""

    url: str
    admin_url: str | None
    is_simulated: bool
    readiness: Readiness
    proxy: Proxy


@asynccontextmanager
async def serving(
    config: Config,
    *,
    database_url: str,
    is_embedded: bool,
    clock: Clock | None = None,
    timeouts: Timeouts | None = None,
) -> AsyncIterator[Running]:
    """Serve until the block ends, then drain: streams first, then what they left to write."""
    clock = clock or SystemClock()
    timeouts = timeouts or Timeouts()
    async with AsyncExitStack() as stack:
        providers, is_simulated = await _providers(stack, config, is_embedded=is_embedded)
        metrics = Metrics()
        books, keys, reports = await _books(stack, config, database_url, clock, metrics)
        cost_controls = await _cost_controls(stack, config)
        upstream = Upstream(idle_timeout_s=timeouts.upstream_idle_s)
        stack.push_async_callback(upstream.close)
        preparation = Preparation(
            providers=providers,
            prices=books.prices,
            cost_controls=cost_controls,
            policy=RoadPolicy(
                save_mode_products=config.policy.save_mode_products,
                rejects_unpriced=config.policy.unpriced_models == "reject",
                bedrock_region=config.bedrock.region,
            ),
            signer=BedrockSigner(config.bedrock.region),
        )
        proxy = Proxy(
            books=books,
            preparation=preparation,
            upstream=upstream,
            gone_client_timeout_s=timeouts.gone_client_s,
        )
        readiness = Readiness()
        edge = ClientEdge(
            routes=RouteTable(config.policy.products),
            keys=keys,
            proxy=proxy,
            information=Information(
                providers=providers,
                prices=books.prices,
                proxy=proxy,
                usage_report=reports,
                clock=clock,
            ),
            readiness=readiness,
            clock=clock,
            body_bytes_max=config.listen.body_bytes_max,
        )
        admin_url = await _admin(stack, config, metrics, readiness)
        url = await _listen(stack, config, edge, proxy, readiness, timeouts.shutdown_s)
        readiness.is_ready = True
        yield Running(
            url=url,
            admin_url=admin_url,
            is_simulated=is_simulated,
            readiness=readiness,
            proxy=proxy,
        )


async def _providers(
    stack: AsyncExitStack, config: Config, *, is_embedded: bool
) -> tuple[Providers, bool]:
    """Real providers, or the simulated one where nothing at all is configured."""
    bedrock = config.bedrock
    has_any = (
        any(setting.api_key or setting.base_url for setting in config.providers.values())
        or bool(config.upstreams)
        or bool(bedrock.base_url or bedrock.region)
    )
    if not is_embedded or has_any:
        real = configured(
            config.providers,
            bedrock=bedrock,
            more=config.upstreams,
            simulator_url=None,
            is_managed=not is_embedded,
        )
        return real, False
    runner = web.AppRunner(SimulatedProvider().app(), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, _LOOPBACK, 0)
    await site.start()
    simulator_url = f"http://{_LOOPBACK}:{runner.addresses[0][1]}"
    simulated = configured(
        config.providers, bedrock=bedrock, simulator_url=simulator_url, is_managed=False
    )
    return simulated, True


async def _books(
    stack: AsyncExitStack, config: Config, database_url: str, clock: Clock, metrics: Metrics
) -> tuple[Books, KeyDirectory, UsageReport]:
    """Journal, poster, budget and keys. Taken down in reverse: the poster after the budget."""
    connections = {
        purpose: DedicatedConnection(database_url, application_name=f"gateway-{purpose}")
        for purpose in ("post", "recover", "lease", "keys", "report")
    }
    for connection in connections.values():
        stack.push_async_callback(connection.close)
    writer_id = new_entry_id(clock)
    directory: Path = config.database.data_dir / "journal"
    journal = Journal(directory, writer_id=writer_id)
    journal.open()
    stack.push_async_callback(journal.close)
    desk = BudgetDesk(
        leases=LeaseClient(connections["lease"], writer_id=writer_id),
        clock=clock,
        writer_id=writer_id,
        fail_mode=config.policy.budget_fail_mode,
        outage_allowance_usd=config.policy.budget_outage_allowance_usd,
    )
    keys = KeyDirectory(connections["keys"], clock=clock)
    poster = Poster(
        connection=connections["post"],
        reader=journal.reader("ledger"),
        writer_id=writer_id,
        on_posted=desk.posted,
    )
    await _event_sender(stack, config, journal, clock)
    recovery = Recovery(directory, connection=connections["recover"], journal=journal, clock=clock)
    await poster.start()
    stack.push_async_callback(poster.close)
    await desk.start()
    stack.push_async_callback(desk.close)
    await recovery.start()
    stack.push_async_callback(recovery.close)
    await keys.start()
    stack.push_async_callback(keys.close)

    def reread_all() -> None:
        desk.on_listener_connected()
        keys.on_listener_connected()

    listener = Listener(
        database_url,
        {"budget_cap": desk.on_cap_changed, "gateway_key": keys.on_key_changed},
        on_connected=reread_all,
    )
    listener.start()
    stack.push_async_callback(listener.close)

    async def post_the_rest() -> None:
        await poster.drain(_POST_TIMEOUT_S)

    stack.push_async_callback(post_the_rest)
    books = Books(
        journal=journal,
        desk=desk,
        prices=PriceBook.load(clock.now()),
        metrics=metrics,
        clock=clock,
    )
    return books, keys, UsageReport(connections["report"])


async def _event_sender(
    stack: AsyncExitStack, config: Config, journal: Journal, clock: Clock
) -> None:
    posthog = config.posthog
    if posthog.host is None or posthog.project_key is None:
        return
    sender = EventSender(
        source=journal.reader("events"),
        host=posthog.host,
        project_key=posthog.project_key.value,
        clock=clock,
    )
    await sender.start()
    stack.push_async_callback(sender.close)


async def _cost_controls(stack: AsyncExitStack, config: Config) -> CostControls:
    posthog = config.posthog
    cost_controls = CostControls(
        mode=config.policy.cost_controls,
        is_debug=config.is_debug,
        forced=config.policy.cost_controls_forced,
        posthog_host=posthog.host,
        project_key=posthog.project_key.value if posthog.project_key else None,
        secret_key=posthog.secret_key.value if posthog.secret_key else None,
    )
    for warning in cost_controls.startup_warnings():
        _log.warning("config.warning", message=warning)
    stack.push_async_callback(cost_controls.close)
    await cost_controls.start()
    return cost_controls


async def _admin(
    stack: AsyncExitStack, config: Config, metrics: Metrics, readiness: Readiness
) -> str | None:
    admin = AdminEdge(metrics=metrics, readiness=readiness, token=config.admin.token)
    runner = web.ServerRunner(QuietServer(admin.handle))
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, config.admin.host, config.admin.port)
    try:
        await site.start()
    except OSError as exc:
        # Metrics are worth less than serving: say so and go on.
        _log.error(
            "admin.unavailable", host=config.admin.host, port=config.admin.port, error=str(exc)
        )
        return None
    return f"http://{config.admin.host}:{runner.addresses[0][1]}"


async def _listen(
    stack: AsyncExitStack,
    config: Config,
    edge: ClientEdge,
    proxy: Proxy,
    readiness: Readiness,
    drain_timeout_s: float,
) -> str:
    # A client that leaves cancels its handler, so that a silent provider hides nobody's leaving.
    server = QuietServer(edge.handle, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=drain_timeout_s)
    await runner.setup()

    async def stop_serving() -> None:
        """Readiness first, then no new connections, then running streams to their end."""
        readiness.is_ready = False
        await runner.cleanup()
        await proxy.tasks.drain(drain_timeout_s)

    stack.push_async_callback(stop_serving)
    site = web.TCPSite(runner, config.listen.host, config.listen.port, reuse_port=False)
    await site.start()
    host = config.listen.host
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{runner.addresses[0][1]}"


async def wait_for_stop(stop: asyncio.Event) -> None:
    """Serve until somebody sets `stop`."""
    await stop.wait()
