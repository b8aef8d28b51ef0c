"""Streams that race to a cap: what one worker's do and see, and the bound for what they did."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.domain.errors import LedgerUnavailableError
from gateway.domain.money import PICO_PER_USD
from gateway.postgres.connection import Connection
from scripts.budget_worker import Worker
from scripts.team_money import spent_usd

EXPECTED_PICO_USD = 13 * PICO_PER_USD // 1000
WORST_PICO_USD = 80 * PICO_PER_USD // 1000
# What a post may take after a settlement: such a request still counts as not posted.
POST_LAG_S = 0.5


@dataclass(frozen=True, slots=True)
class Ran:
    """One admitted request; times are of the machine's monotonic clock."""

    admitted_s: float
    settled_s: float
    hold: int
    amount: int


@dataclass
class Stats:
    """What one worker saw in one trial."""

    ran: list[Ran] = field(default_factory=list)
    held_back: int = 0
    refused: int = 0
    failed_open: int = 0
    questions: int = 0


async def run_streams(
    worker: Worker, team_id: int, *, streams: int, seed: int, pace_s: float
) -> Stats:
    """So many streams at once, each a few requests after another until it is refused for good."""
    stats = Stats()
    before = worker.leases.sync_count
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret.

    async def stream(dice: random.Random) -> None:
        await asyncio.sleep(dice.random() * pace_s / 4)
        for _ in range(6):
            try:
                admission = await worker.admit(team_id, EXPECTED_PICO_USD, WORST_PICO_USD)
            except LedgerUnavailableError:
                await asyncio.sleep(dice.random() * pace_s)
                continue
            if not admission.is_admitted:
                if not admission.is_held_back:
                    stats.refused += 1
                    return
                stats.held_back += 1
                await asyncio.sleep(dice.random() * pace_s)
                continue
            stats.failed_open += admission.failed_open
            hold = worker.hold(team_id, admission)
            admitted_s = time.monotonic()
            await asyncio.sleep(dice.random() * pace_s)
            if dice.random() < 0.05:
                worker.release(hold)
                continue
            # Mean about $0.01, sometimes far above the expected cost, never above the worst case.
            amount = min(int(dice.expovariate(100) * PICO_PER_USD), WORST_PICO_USD)
            worker.settle(hold, amount)
            stats.ran.append(Ran(admitted_s, time.monotonic(), hold.amount_pico_usd, amount))

    own_dice = [random.Random(dice.random()) for _ in range(streams)]  # noqa: S311 - the same.
    await asyncio.gather(*(stream(each) for each in own_dice))
    await worker.poster.drain(10)
    stats.questions = worker.leases.sync_count - before
    return stats


def bound_above_cap(ran: list[Ran]) -> int:
    """The published bound of `hard`, for what happened."""
    if not ran:
        return 0
    last = max(ran, key=lambda one: one.admitted_s)
    overruns = sum(
        max(0, one.amount - one.hold)
        for one in ran
        if one.settled_s + POST_LAG_S >= last.admitted_s
    )
    return max(one.hold for one in ran) + overruns


async def fits_again(own: Worker, database: Connection, team_id: int, cap_usd: Decimal) -> bool:
    """Whether a request that fits into what is left is admitted; True where nothing is left."""
    left = cap_usd - await spent_usd(database, team_id)
    if left <= 0:
        return True
    need = int(left * PICO_PER_USD)
    # In hard any request passes below the cap.
    admission = await own.admit(team_id, WORST_PICO_USD, need)
    if admission.is_admitted:
        own.release(own.hold(team_id, admission))
    return admission.is_admitted
