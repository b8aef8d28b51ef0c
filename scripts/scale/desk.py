"""The guard's desk, in this process: admissions from memory, and what leases cost at rest."""

import asyncio
import os
import time
from itertools import cycle, islice

from bench.processes import cpu_s
from gateway.domain.ids import TeamId
from scripts.budget_worker import Worker, worker
from scripts.scale.site import Site, say
from scripts.scale.timing import lap_us


async def _admitted(own: Worker, team: int) -> None:
    admission = await own.admit(team, 10**10, 2 * 10**10)
    own.release(own.hold(team, admission))


async def bench_desk(site: Site, url: str, teams: int, used: int) -> None:
    """Admit and release from memory, with leases of so many teams; then what rest costs."""
    async with worker(url, site.directory / f"desk-{teams}-{used}") as own:
        started_s = time.monotonic()
        for begin in range(1, used + 1, 200):
            await asyncio.gather(
                *(_admitted(own, team) for team in range(begin, min(begin + 200, used + 1)))
            )
        first_s = time.monotonic() - started_s

        def once(team: int) -> None:
            admission = own.desk.admit(
                TeamId(team), expected_pico_usd=10**10, worst_pico_usd=2 * 10**10, is_override=False
            )
            if admission is None:
                asked.append(team)
            else:
                own.desk.released(own.hold(team, admission))

        asked: list[int] = []
        count = 2_000
        # The last to come have their leases still; those idle for a second gave theirs back.
        late = range(max(1, used - 199), used + 1)
        admit_us = lap_us(once, list(islice(cycle(late), count)))
        await asyncio.sleep(12 if used > 1000 else 3)
        before_s = cpu_s(os.getpid())
        longest_s, ends_s = 0.0, time.monotonic() + 3
        while (began_s := time.monotonic()) < ends_s:
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.monotonic() - began_s - 0.001)
        say(
            f"  {teams:>7,} teams, {used:>7,} used: first admissions {first_s:.1f} s, "
            f"then admit + hold + release {admit_us:.1f} us ({len(asked)} of {count * 5} ask); "
            f"at rest {(cpu_s(os.getpid()) - before_s) / 3 * 1e3:.0f} ms CPU a second, "
            f"longest block {longest_s * 1e3:.1f} ms"
        )
