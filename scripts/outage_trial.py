"""One outage: traffic before, during and after it, and the audit of the books."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.postgres.connection import connect
from scripts.kill_audit import Findings, audit
from scripts.kill_clients import make_credentials
from scripts.outage_modes import HEAL_TIMEOUT_S, POLL_S, Mode, begin
from scripts.outage_scene import Scene

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
        heal = await begin(scene, mode)
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


async def _wait_for_entries(scene: Scene, outcome: Outcome, healed_s: float) -> None:
    """Until every generation is in the ledger, and nothing is held."""
    keys = scene.fleet_keys()
    with suppress(TimeoutError):
        async with asyncio.timeout(HEAL_TIMEOUT_S):
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
                await asyncio.sleep(POLL_S)


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
