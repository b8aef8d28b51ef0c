"""What an outage happens to: a gateway, its database behind a proxy, a provider, and clients."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.postgres.connection import Connection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.keeper import kept_alive
from gateway.postgres.migrate import upgrade
from scripts.kill_clients import PRODUCTS, Credential, Fleet, make_credentials
from scripts.kill_provider import BillingProvider
from scripts.team_money import spend
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.raw_client import request
from tests.fixtures.gateway import messages_body
from tests.fixtures.process import GatewayProcess


@dataclass(kw_only=True)
class Scene:
    """A gateway, its database behind a proxy, and the clients."""

    gateway: GatewayProcess
    server: EmbeddedPostgres
    proxy: FlakyTcp
    provider: BillingProvider
    database: Connection
    fleet: Fleet
    team_ids: list[int]
    blocked: Credential
    data_dir: Path

    def fleet_keys(self) -> list[int]:
        return sorted({one.credential.api_key_id for one in self.fleet.sent})

    async def ask(self, key: str) -> int | str:
        """One plain request, and its status."""
        headers = [("x-api-key", key), ("content-type", "application/json")]
        try:
            answer = await request(
                self.gateway.url, "POST", "/v1/messages", headers, messages_body()
            )
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as exc:
            return type(exc).__name__
        return answer.status


async def open_scene(stack: AsyncExitStack, root: Path, *, seed: int, **settings: str) -> Scene:
    """Everything up, every team and key known to the gateway."""
    server = EmbeddedPostgres(root / "server")
    await asyncio.to_thread(server.start)
    stack.callback(server.stop)
    await asyncio.to_thread(upgrade, server.url())
    stack.enter_context(kept_alive(server))
    provider = await stack.enter_async_context(BillingProvider(seed))
    proxy = await stack.enter_async_context(FlakyTcp.before_postgres(server.url()))
    gateway = await asyncio.to_thread(
        GatewayProcess,
        root / "data",
        GATEWAY_DATABASE_URL=proxy.postgres_url(server.url()),
        GATEWAY_LOG_LEVEL="warning",
        GATEWAY_PRODUCTS=",".join(("llm_gateway", *PRODUCTS)),
        GATEWAY_ANTHROPIC_BASE_URL=f"{provider.url}/anthropic",
        GATEWAY_ANTHROPIC_API_KEY="sk-ant-none",
        GATEWAY_OPENAI_BASE_URL=f"{provider.url}/openai/v1",
        GATEWAY_OPENAI_API_KEY="sk-none",
        **settings,
    )
    stack.push_async_callback(asyncio.to_thread, gateway.__exit__)
    database = await connect(server.url(), application_name="outage-test")
    team_ids = [
        int(
            await database.fetchval(
                "INSERT INTO ledger.team (name, monthly_cap_usd) VALUES ($1, $2) RETURNING team_id",
                name,
                cap,
            )
        )
        for name, cap in (("free", None), ("capped", 100_000), ("spent", 1))
    ]
    await spend(database, team_ids[2], Decimal(2))
    (blocked,) = await make_credentials(database, team_ids[2:], 1)
    await database.close()
    return Scene(
        gateway=gateway,
        server=server,
        proxy=proxy,
        provider=provider,
        database=database,
        fleet=Fleet(gateway.url, seed, leave_share=0.0),
        team_ids=team_ids[:2],
        blocked=blocked,
        data_dir=root,
    )
