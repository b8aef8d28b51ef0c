"""Take the database away from a running gateway in every way, and count what clients notice.

    python -m scripts.outage_test --seconds 30

A real `gateway serve`, a TCP proxy of ours before its database, and a provider that keeps its own
bill. Prints a table; exit status 1 where a request failed that no policy refuses, where one was let
through that had to be refused, or where the ledger is not the bill once the database is back.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

import structlog
import uvloop
from rich.console import Console
from rich.table import Table

from gateway.postgres.connection import Connection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.keeper import kept_alive
from gateway.postgres.migrate import upgrade
from scripts.kill_audit import Findings, audit
from scripts.kill_clients import PRODUCTS, Credential, Fleet, make_credentials
from scripts.kill_provider import BillingProvider
from scripts.team_money import spend
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.raw_client import request
from tests.fixtures.gateway import messages_body
from tests.fixtures.process import GatewayProcess

Mode = Literal["stopped", "frozen", "read-only", "answers lost", "restarted"]
MODES: tuple[Mode, ...] = ("stopped", "frozen", "read-only", "answers lost", "restarted")
_HEAL_TIMEOUT_S = 60.0
_POLL_S = 0.05
_UNKNOWN_KEY = "gw_" + "x" * 43
_OUT_OF_ORDER = """
SELECT count(*) FROM (
    SELECT min(occurred_at) < lag(max(occurred_at)) OVER (ORDER BY recorded_at) AS is_late
    FROM ledger.ledger_entry WHERE api_key_id = ANY($1::bigint[]) GROUP BY recorded_at
) AS batch WHERE is_late
"""
_SERVED = frozenset({200, 529, 500})
"""What the provider says, its own errors included."""


@dataclass
class Outcome:
    """What clients and the ledger saw of one outage."""

    mode: Mode
    answers: Counter[int | str] = field(default_factory=Counter)
    entries: int = 0
    seconds: float = 0.0
    drain_s: float = 0.0
    blocked: Counter[int | str] = field(default_factory=Counter)
    unknown: Counter[int | str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.answers.total()

    @property
    def failed(self) -> int:
        """Requests of known teams within their caps that got no answer of the provider."""
        # A stream that the provider itself cuts, and a client's own leaving, are no failures.
        own = {"left", "cut"}
        return sum(n for answer, n in self.answers.items() if answer not in _SERVED | own)


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


async def go_through(scene: Scene, mode: Mode, *, seconds: float, clients: int) -> Outcome:
    """Traffic before, during and after one outage; then the books are closed and audited."""
    outcome = Outcome(mode)
    scene.database = await connect(scene.server.url(), application_name="outage-test")
    try:
        credentials = await make_credentials(scene.database, scene.team_ids, clients)
        scene.provider.bill.clear()
        scene.fleet.statuses.clear()
        scene.fleet.start(credentials)
        await asyncio.sleep(1.0)
        outcome.blocked[await scene.ask(scene.blocked.text)] += 1
        heal = await _begin(scene, mode)
        started_s = time.monotonic()
        while time.monotonic() - started_s < seconds:
            outcome.blocked[await scene.ask(scene.blocked.text)] += 1
            outcome.unknown[await scene.ask(_UNKNOWN_KEY)] += 1
            await asyncio.sleep(0.1)
        outcome.seconds = time.monotonic() - started_s
        await heal()
        healed_s = time.monotonic()
        await scene.fleet.stop()
        await _wait_for_entries(scene, outcome, healed_s)
        await _judge(scene, outcome)
    finally:
        await scene.database.close()
    return outcome


async def _begin(scene: Scene, mode: Mode) -> Callable[[], Awaitable[None]]:
    """Begin an outage; returns what ends it."""
    proxy = scene.proxy

    async def restore() -> None:
        proxy.cut()
        await proxy.restore()

    match mode:
        case "stopped":
            proxy.refuse()
        case "frozen":
            proxy.freeze()
        case "answers lost":
            proxy.drop_answers()
        case "read-only":
            return await _read_only(scene)
        case "restarted":
            path = scene.data_dir / "server/postgres/cluster/postmaster.pid"
            os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
            return _reconnected(scene)
    return restore


async def _read_only(scene: Scene) -> Callable[[], Awaitable[None]]:
    """As on a standby after a failover: every session of the gateway's is one that cannot write."""
    name = await scene.database.fetchval("SELECT current_database()")
    await scene.database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    scene.proxy.cut()

    async def writable() -> None:
        await scene.database.execute("SET default_transaction_read_only = off")
        await scene.database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        scene.proxy.cut()

    return writable


def _reconnected(scene: Scene) -> Callable[[], Awaitable[None]]:
    async def again() -> None:
        await scene.database.close()
        async with asyncio.timeout(_HEAL_TIMEOUT_S):
            while True:
                with suppress(Exception):
                    scene.database = await connect(
                        scene.server.url(), application_name="outage-test"
                    )
                    return
                await asyncio.sleep(_POLL_S)

    return again


async def _wait_for_entries(scene: Scene, outcome: Outcome, healed_s: float) -> None:
    """Until every generation is in the ledger, and nothing is held."""
    keys = scene.fleet_keys()
    with suppress(TimeoutError):
        async with asyncio.timeout(_HEAL_TIMEOUT_S):
            while True:
                outcome.entries = await scene.database.fetchval(
                    "SELECT count(*) FROM ledger.ledger_entry WHERE api_key_id = ANY($1::bigint[])",
                    keys,
                )
                held = await scene.database.fetchval(
                    "SELECT count(*) FROM ledger.budget_status WHERE held_usd <> 0"
                )
                if outcome.entries >= sum(tag in scene.provider.bill for tag in _tags(scene)):
                    outcome.drain_s = outcome.drain_s or time.monotonic() - healed_s
                    if not held:
                        return
                await asyncio.sleep(_POLL_S)


def _tags(scene: Scene) -> set[str]:
    return {one.tag for one in scene.fleet.sent}


async def _is_in_order(scene: Scene) -> bool:
    """The batches of one worker's journal came one after the other, as requests had ended."""
    return not await scene.database.fetchval(_OUT_OF_ORDER, scene.fleet_keys())


async def _judge(scene: Scene, outcome: Outcome) -> None:
    findings = Findings()
    bill = {tag: made for tag, made in scene.provider.bill.items() if "/" in tag}
    await audit(scene.database, scene.fleet.sent, bill, findings)
    outcome.answers += scene.fleet.statuses
    outcome.violations += findings.violations
    if not await _is_in_order(scene):
        outcome.violations.append("the journal drained out of order")
    if set(outcome.blocked) != {429}:
        outcome.violations.append(f"a spent team got {dict(outcome.blocked)}")
    if not set(outcome.unknown) <= {401, 503}:
        outcome.violations.append(f"an unknown key got {dict(outcome.unknown)}")
    if outcome.failed:
        outcome.violations.append(f"{outcome.failed} failed: {dict(outcome.answers)}")


def table_of(outcomes: list[Outcome]) -> Table:
    table = Table()
    for column in ("outage", "seconds", "requests", "failed", "entries", "drained after"):
        table.add_column(column, justify="left" if column == "outage" else "right")
    table.add_column("spent team")
    table.add_column("unknown key")
    for one in outcomes:
        table.add_row(
            one.mode,
            f"{one.seconds:.0f}",
            str(one.requests),
            str(one.failed),
            str(one.entries),
            f"{one.drain_s:.2f} s",
            _counted(one.blocked),
            _counted(one.unknown),
        )
    return table


def _counted(answers: Counter[int | str]) -> str:
    return ", ".join(f"{count} x {answer}" for answer, count in answers.most_common())


async def campaign(root: Path, *, seconds: float, clients: int, seed: int) -> list[Outcome]:
    """Every mode, one after the other, on one gateway."""
    async with AsyncExitStack() as stack:
        scene = await open_scene(stack, root, seed=seed)
        return [await go_through(scene, mode, seconds=seconds, clients=clients) for mode in MODES]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30, help="of each outage")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as directory:
        outcomes = uvloop.run(
            campaign(Path(directory), seconds=args.seconds, clients=args.clients, seed=args.seed)
        )
    Console(width=130).print(table_of(outcomes))
    for outcome in outcomes:
        for violation in outcome.violations[:20]:
            print(f"{outcome.mode}: {violation}", file=sys.stderr)
    return 1 if any(outcome.violations for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
