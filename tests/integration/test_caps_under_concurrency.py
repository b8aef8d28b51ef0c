"""Workers race to a cap: strict never crosses it, hard stays in the published bound.

`make cap-trials` does the same with eight processes, 500 streams and as many trials as wanted.
"""

import asyncio
from contextlib import AsyncExitStack
from decimal import Decimal

import pytest

from gateway.domain.money import usd_from_pico
from scripts.budget_worker import worker
from scripts.cap_streams import bound_above_cap, fits_again, run_streams
from scripts.team_money import make_team, spent_usd, wait_for_no_holds

CAP_USD = Decimal(25)


@pytest.mark.parametrize("enforcement", ["strict", "hard"])
async def test_a_crowd_at_99_percent_of_a_cap_stays_in_the_bound(
    database_url, tmp_path, database, enforcement
):
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(worker(database_url, tmp_path)) for _ in range(4)
        ]
        for trial in range(3):
            team = await make_team(database, enforcement=enforcement, cap_usd=CAP_USD)
            results = await asyncio.gather(
                *(
                    run_streams(own, team, streams=40, seed=10 * trial + n, pace_s=0.1)
                    for n, own in enumerate(workers)
                )
            )
            ran = [one for stats in results for one in stats.ran]
            bound = usd_from_pico(bound_above_cap(ran)) if enforcement == "hard" else Decimal(0)
            assert ran
            assert await spent_usd(database, team) <= CAP_USD + bound
            assert await wait_for_no_holds(database, team) is not None
            assert await fits_again(workers[trial], database, team, CAP_USD)
