"""Kill the gateway at every point of every request path, and audit what recovery makes of it.

A new process serves one request and kills itself with SIGKILL at the Nth point, for N = 1, 2, ...
until the request is over before the kill comes. `await` counts the suspensions of the task that
serves the client; `turn` counts every callback that the event loop runs, which has the suspensions
of all tasks. `cold`, the request is the process's first; `warm`, another one went before. Provider
and client live here, with the provider's bill and what the client heard.

    .venv/bin/python -m scripts.nth_kill --kinds await,turn
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gateway.postgres.connection import connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.migrate import upgrade
from scripts.nth_course import Course
from scripts.nth_killer import kill_paths
from tests.fakes.roads import ROADS

KINDS = ("await", "turn")


async def _one(course: Course, server: EmbeddedPostgres, root: Path, number: int) -> None:
    name = f"path_{number}"
    database = await connect(server.url("postgres"), application_name="nth-kill")
    try:
        await database.execute(f"CREATE DATABASE {name} TEMPLATE nth_kill_template")
    finally:
        await database.close()
    await kill_paths([course], server.url(name), root)


async def run(paths: Sequence[Course], server: EmbeddedPostgres, root: Path, jobs: int) -> None:
    """`jobs` paths at a time, each in a database of its own."""
    database = await connect(server.url("postgres"), application_name="nth-kill")
    await database.execute("CREATE DATABASE nth_kill_template")
    await database.close()
    await asyncio.to_thread(upgrade, server.url("nth_kill_template"))
    places = asyncio.Semaphore(jobs)
    console = Console(stderr=True)

    async def go(number: int, course: Course) -> None:
        async with places:
            await _one(course, server, root, number)
        wrong = len(course.findings.violations)
        console.print(
            f"{course.name}: {course.points} kills, {wrong} violations", dict(course.counts)
        )

    async with asyncio.TaskGroup() as group:
        for number, course in enumerate(paths):
            group.create_task(go(number, course))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--roads", default="", help="only those whose name has this")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    paths = [
        Course(road, kind, is_warm)
        for kind in args.kinds.split(",")
        for road in ROADS
        for is_warm in (False, True)
        if args.roads in road.name
    ]
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with EmbeddedPostgres(root / "server", is_durable=False) as server:
            asyncio.run(run(paths, server, root, args.jobs))
    violations = [each for course in paths for each in course.findings.violations]
    for violation in violations[:50]:
        print(violation, file=sys.stderr)
    counts: Counter[str] = sum((course.counts for course in paths), Counter())
    print(
        json.dumps(
            {
                "paths": len(paths),
                "kills": sum(course.points for course in paths),
                "seconds": round(time.monotonic() - started_s),
                **counts,
                "violations": len(violations),
            }
        )
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
