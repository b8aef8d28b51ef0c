"""Builds what a worker knows of providers, and the gate of Save Mode."""

from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from gateway.config import Config
from gateway.flags.cost_controls import CostControls
from gateway.sim.provider import SimulatedProvider
from gateway.upstream.configured import configured
from gateway.upstream.providers import Providers

_log = structlog.get_logger("gateway.app")
_LOOPBACK = "127.0.0.1"


async def choose_providers(
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


async def cost_controls(stack: AsyncExitStack, config: Config) -> CostControls:
    """The gate, its flag definitions loaded, its warnings said."""
    posthog = config.posthog
    controls = CostControls(
        mode=config.policy.cost_controls,
        is_debug=config.is_debug,
        forced=config.policy.cost_controls_forced,
        posthog_host=posthog.host,
        project_key=posthog.project_key.value if posthog.project_key else None,
        secret_key=posthog.secret_key.value if posthog.secret_key else None,
    )
    for warning in controls.startup_warnings():
        _log.warning("config.warning", message=warning)
    stack.push_async_callback(controls.close)
    await controls.start()
    return controls
