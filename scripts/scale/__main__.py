"""What a request costs as the database grows: teams, keys, rows of the ledger; and by workers.

Gateways, each with a database of another size on one real PostgreSQL, take turns at the same JSON
load, so that what the machine does besides falls on all of them alike. A gateway has a core to
itself; provider, load, PostgreSQL and this process share the other. The directory, the look-up of
keys and the guard's desk are timed in this process, against the same databases.

    .venv/bin/python -m scripts.scale --rows 1000000
"""

import argparse
import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.contenders import provider
from bench.processes import Cores, on_core
from bench.tools import built
from gateway.postgres.embedded import EmbeddedPostgres
from scripts.scale.databases import CAPPED_MAX, add_rows, make
from scripts.scale.desk import bench_desk
from scripts.scale.directory import bench_directory
from scripts.scale.gateways import Point, bench_gateways, gateway
from scripts.scale.ledger import bench_ledger, bench_readings
from scripts.scale.site import Site, Size, say
from scripts.scale.workers import bench_workers


def run(site: Site, parts: set[str], rows: int, rounds: int) -> None:
    sizes = [
        Size(name="team_1", teams=1, keys=1),
        Size(name="teams_1000", teams=1000, keys=1000),
        Size(name="teams_100000", teams=100_000, keys=100_000),
        Size(name="keys_1000000", teams=1000, keys=1_000_000),
        Size(name="ledger", teams=1000, keys=1000, rows=rows),
    ]
    one, thousand, many_teams, many_keys, ledger = sizes
    for size in sizes:
        asyncio.run(make(site, size))
    site.pin_database()
    if "desk" in parts:
        say("guard's desk, in one process")
        for size, used in (
            (one, 1),
            (thousand, 1000),
            (many_teams, 1000),
            (many_teams, CAPPED_MAX),
            (many_teams, 100_000),
        ):
            asyncio.run(bench_desk(site, site.url(size), size.teams, used))
        for size in (one, thousand, many_teams):
            asyncio.run(bench_readings(site.url(size), size.teams))
    if "ledger" in parts:
        asyncio.run(bench_ledger(site, ledger))
    elif "gateway" in parts and ledger.rows:
        asyncio.run(add_rows(site.url(ledger), 1, ledger.rows))
    with provider(built("provider"), site.cores) as upstream_port:
        if "gateway" in parts:
            with ExitStack() as stack:
                opened = [
                    stack.enter_context(
                        gateway(site, site.url(size), upstream_port, name=size.name)
                    )
                    for size in sizes
                ]
                points = [
                    Point(to=to, keys=used)
                    for to in opened
                    for used in ((1,) if to.name == "team_1" else (1, 1000))
                ]
                asyncio.run(bench_gateways(site, points, rounds))
        if "workers" in parts:
            say("workers, both cores shared with everything")
            bench_workers(site, thousand, upstream_port, rounds)
    if "keys" in parts:
        say("directory of keys, in one process")
        for size in (one, thousand, many_teams, many_keys):
            asyncio.run(bench_directory(site.url(size), size.keys))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.scale", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--parts", default="desk,ledger,gateway,workers,keys")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the largest ledger")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cores = Cores.chosen()
    with tempfile.TemporaryDirectory(prefix="gateway-scale-") as temporary:
        directory = Path(temporary)
        with on_core(cores.others), EmbeddedPostgres(directory / "data") as server:
            site = Site(server=server, cores=cores, directory=directory)
            run(site, set(args.parts.split(",")), args.rows, args.rounds)


if __name__ == "__main__":
    main()
