"""One worker from its configuration to its listeners, and back."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.app.books import Ledger, open_ledger
from gateway.app.listeners import listen_for_admins, listen_for_clients
from gateway.app.providers import choose_providers, cost_controls
from gateway.app.timeouts import Timeouts
from gateway.config import Config
from gateway.domain.clock import Clock, SystemClock
from gateway.edge.calls import CallEdge
from gateway.edge.clients import ClientEdge
from gateway.edge.health import Readiness
from gateway.edge.information import Information
from gateway.edge.intake import Intake
from gateway.edge.routes import RouteTable
from gateway.proxy.lifecycle import Proxy
from gateway.proxy.preparation import Preparation, RoadPolicy
from gateway.telemetry.metrics import Metrics
from gateway.upstream.answer import Upstream
from gateway.upstream.plain import PlainUpstream
from gateway.upstream.providers import Providers
from gateway.upstream.sigv4 import BedrockSigner
from gateway.upstream.ways import open_upstream
from gateway.upstream.wheel import DeadlineWheel


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
    listener: socket.socket | None = None,
    admin_path: Path | None = None,
    uses_plain_relay: bool = False,
) -> AsyncIterator[Running]:
    """Serve until the block ends, then drain: streams first, then what they left to write.

    A worker among several inherits its `listener`, and has its metrics on a unix socket.
    `uses_plain_relay` leaves the fast way to the providers out, as where its self-test fails.
    """
    clock = clock or SystemClock()
    timeouts = timeouts or Timeouts()
    async with AsyncExitStack() as stack:
        providers, is_simulated = await choose_providers(stack, config, is_embedded=is_embedded)
        metrics = Metrics()
        ledger = await open_ledger(stack, config, database_url, clock, metrics)
        upstream = await _upstream(stack, timeouts, uses_plain_relay=uses_plain_relay)
        preparation = await _preparation(stack, config, providers, ledger)
        proxy = Proxy(
            books=ledger.books,
            preparation=preparation,
            upstream=upstream,
            gone_client_timeout_s=timeouts.gone_client_s,
            stalled_client_timeout_s=timeouts.stalled_client_s,
        )
        information = Information(
            providers=providers,
            prices=ledger.books.prices,
            proxy=proxy,
            usage_report=ledger.usage,
            clock=clock,
        )
        readiness = Readiness()
        edge, calls = _edges(
            config,
            ledger,
            proxy,
            information,
            readiness,
            clock,
            body_timeout_s=timeouts.request_body_s,
        )
        admin_url = await listen_for_admins(
            stack, config, ledger, metrics, readiness, path=admin_path
        )
        url = await listen_for_clients(
            stack,
            config,
            edge,
            calls,
            proxy,
            readiness,
            timeouts=timeouts,
            listener=listener,
        )
        readiness.is_ready = True
        yield Running(
            url=url,
            admin_url=admin_url,
            is_simulated=is_simulated,
            readiness=readiness,
            proxy=proxy,
        )


async def _preparation(
    stack: AsyncExitStack, config: Config, providers: Providers, ledger: Ledger
) -> Preparation:
    return Preparation(
        providers=providers,
        prices=ledger.books.prices,
        cost_controls=await cost_controls(stack, config),
        policy=RoadPolicy(
            save_mode_products=config.policy.save_mode_products,
            rejects_unpriced=config.policy.unpriced_models == "reject",
            bedrock_region=config.bedrock.region,
        ),
        signer=BedrockSigner(config.bedrock.region),
    )


async def _upstream(
    stack: AsyncExitStack, timeouts: Timeouts, *, uses_plain_relay: bool
) -> Upstream:
    upstream: Upstream
    if uses_plain_relay:
        upstream = PlainUpstream(idle_timeout_s=timeouts.upstream_idle_s)
    else:
        wheel = DeadlineWheel()
        stack.callback(wheel.close)
        upstream = await open_upstream(wheel=wheel, idle_timeout_s=timeouts.upstream_idle_s)
    stack.push_async_callback(upstream.close)
    return upstream


def _edges(
    config: Config,
    ledger: Ledger,
    proxy: Proxy,
    information: Information,
    readiness: Readiness,
    clock: Clock,
    *,
    body_timeout_s: float,
) -> tuple[ClientEdge, CallEdge]:
    """What answers requests that the framework has read, and calls that we have read ourselves."""
    routes = RouteTable(config.policy.products)
    body_bytes_max = config.listen.body_bytes_max
    intake = Intake(body_bytes_max=body_bytes_max, timeout_s=body_timeout_s)
    edge = ClientEdge(
        routes=routes,
        keys=ledger.keys,
        proxy=proxy,
        information=information,
        readiness=readiness,
        clock=clock,
        body_bytes_max=body_bytes_max,
        intake=intake,
    )
    calls = CallEdge(
        routes=routes,
        keys=ledger.keys,
        proxy=proxy,
        clock=clock,
        body_bytes_max=body_bytes_max,
        intake=intake,
    )
    return edge, calls
