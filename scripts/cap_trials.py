"""Race real workers to a cap, over and over, and compare the largest overspend with the bound.

Every trial makes a team with 99 % of its cap spent. Eight processes, each a desk with its own
journal, poster, leases and listener, then run 500 streams at once that admit, wait and settle until
they are refused. In `strict` the ledger may never end above the cap; in `hard` not above

    cap + the hold of the last request admitted + the overruns (cost above hold) of those that were
    running, or not posted, when it was admitted

Afterwards nothing may be held any more, and a request that fits must be admitted.

    .venv/bin/python -m scripts.cap_trials --trials 1000
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from gateway.domain.money import usd_from_pico
from gateway.postgres import migrate
from gateway.postgres.connection import Connection, connect
from gateway.postgres.embedded import EmbeddedPostgres
from scripts.budget_worker import worker
from scripts.cap_streams import Stats, bound_above_cap, fits_again, run_streams
from scripts.team_money import make_team, spent_usd, wait_for_no_holds


def serve(url: str, directory: str, pipe: Pipe, pace_s: float) -> None:
    """One process: does the trials that the pipe brings, and says how they went."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with worker(url, Path(directory)) as own:
            while (order := await loop.run_in_executor(None, pipe.recv)) is not None:
                kind, team_id, *rest = order
                if kind == "fit":
                    (cap_usd,) = rest
                    database = await connect(url, application_name="trial-fit")
                    pipe.send(await fits_again(own, database, team_id, cap_usd))
                    await database.close()
                    continue
                streams, seed = rest
                pipe.send(
                    await run_streams(own, team_id, streams=streams, seed=seed, pace_s=pace_s)
                )

    asyncio.run(main())


@dataclass
class Worst:
    """The largest overspend of one enforcement, beside the bound of the same trial."""

    over_usd: Decimal = Decimal("-Infinity")
    bound_usd: Decimal = Decimal(0)
    broken: int = 0
    stuck: int = 0
    unfit: int = 0
    admitted: int = 0
    held_back: int = 0
    failed_open: int = 0
    questions: int = 0
    slowest_s: float = 0.0


async def try_once(
    database: Connection, pipes: list[Pipe], args: argparse.Namespace, number: int, worst: Worst
) -> None:
    loop = asyncio.get_running_loop()
    enforcement = ("strict", "hard")[number % 2]
    cap_usd = Decimal(args.cap)
    team_id = await make_team(database, enforcement=enforcement, cap_usd=cap_usd)
    share = args.streams // len(pipes)
    for index, pipe in enumerate(pipes):
        pipe.send(("run", team_id, share, args.seed + number * 1000 + index))
    results: list[Stats] = [await loop.run_in_executor(None, pipe.recv) for pipe in pipes]
    ran = [one for stats in results for one in stats.ran]
    over_usd = await spent_usd(database, team_id) - cap_usd
    bound_usd = usd_from_pico(bound_above_cap(ran)) if enforcement == "hard" else Decimal(0)
    waited_s = await wait_for_no_holds(database, team_id)
    pipes[number % len(pipes)].send(("fit", team_id, cap_usd))
    fits = await loop.run_in_executor(None, pipes[number % len(pipes)].recv)
    worst.admitted += len(ran)
    worst.held_back += sum(stats.held_back for stats in results)
    worst.failed_open += sum(stats.failed_open for stats in results)
    worst.questions += sum(stats.questions for stats in results)
    worst.broken += over_usd > bound_usd
    worst.stuck += waited_s is None
    worst.unfit += not fits
    worst.slowest_s = max(worst.slowest_s, waited_s or 0.0)
    if over_usd > worst.over_usd:
        worst.over_usd, worst.bound_usd = over_usd, bound_usd


async def trials(url: str, pipes: list[Pipe], args: argparse.Namespace) -> bool:
    worsts = {"strict": Worst(), "hard": Worst()}
    database = await connect(url, application_name="trial-judge")
    started_s = time.monotonic()
    for number in range(args.trials):
        await try_once(database, pipes, args, number, worsts[("strict", "hard")[number % 2]])
        if (number + 1) % 50 == 0:
            print(f"{number + 1} trials, {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    await database.close()
    print(
        f"{args.trials} trials, {args.processes} processes, {args.streams} streams, "
        f"cap ${args.cap}, {time.monotonic() - started_s:.0f} s"
    )
    for name, worst in worsts.items():
        if worst.admitted:
            print(
                f"{name}: largest overspend ${max(worst.over_usd, Decimal(0))} "
                f"(bound in that trial ${worst.bound_usd}), bound broken {worst.broken} times, "
                f"holds left {worst.stuck} times, a fitting request refused {worst.unfit} times; "
                f"{worst.admitted} settled, {worst.held_back} held back, "
                f"{worst.failed_open} without the database, "
                f"{worst.questions / worst.admitted:.2f} lease calls a settled request, "
                f"holds back at zero within {worst.slowest_s:.2f} s"
            )
    return not any(worst.broken or worst.stuck or worst.unfit for worst in worsts.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--cap", default="25.00")
    parser.add_argument("--pace", type=float, default=0.2, help="seconds a stream may take")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with EmbeddedPostgres(root / "postgres", is_durable=False) as server:
            url = server.url("postgres")
            migrate.upgrade(url)
            pipes, processes = [], []
            for _ in range(args.processes):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=serve, args=(url, str(root / "journals"), theirs, args.pace)
                )
                process.start()
                pipes.append(ours)
                processes.append(process)
            is_right = asyncio.run(trials(url, pipes, args))
            for pipe in pipes:
                pipe.send(None)
            for process in processes:
                process.join(20)
                is_right = is_right and process.exitcode == 0
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
