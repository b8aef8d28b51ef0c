"""Take the database away from a running gateway in every way, and count what clients notice.

    python -m scripts.outage_test --seconds 30

A real `gateway serve`, a TCP proxy of ours before its database, and a provider that keeps its own
bill. Prints a table; exit status 1 where a request failed that no policy refuses, where one was let
through that had to be refused, or where the ledger is not the bill once the database is back.
"""

import argparse
import logging
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
import uvloop
from rich.console import Console
from rich.table import Table

from scripts.outage_modes import MODES
from scripts.outage_scene import open_scene
from scripts.outage_trial import Outcome, go_through


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
