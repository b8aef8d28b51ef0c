"""One worker and two of a gateway, on both cores."""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.contenders import CREDENTIAL, Running
from bench.measure import Tools
from bench.tools import built
from scripts.scale.databases import key_of
from scripts.scale.gateways import REST_S, gateway, rss_mb
from scripts.scale.site import JSON, Site, Size, say


def bench_workers(site: Site, size: Size, upstream_port: int, rounds: int) -> None:
    """One worker and two, on both cores, beside everything else that runs there."""
    tools = Tools(load=built("load"), cores=site.cores, directory=site.directory)
    both = set(os.sched_getaffinity(0))
    with ExitStack() as stack:
        points: dict[int, Running] = {}
        for workers in (1, 2):
            running = stack.enter_context(
                gateway(site, site.url(size), upstream_port, name=size.name, workers=workers)
            )
            for pid in running.pids()[0]:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), both)
            points[workers] = running
        figures: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers, running in points.items():
                to = Running(
                    name="workers",
                    port=running.port,
                    headers=(f"x-api-key: {key_of(1)}", CREDENTIAL[1]),
                    process=running.process,
                )
                tools.finish(tools.begin(tools.command(JSON, to, "-c", "32", "-n", "300")))
                time.sleep(REST_S)
                before = running.clocks()
                row = tools.finish(tools.begin(tools.command(JSON, to, "-c", "32", "-n", "3000")))
                time.sleep(REST_S)
                own_s, _ = running.clocks().since(before)
                assert (row["requests"], row["not_200"]) == (3000, 0), row
                figures[workers].append(
                    (
                        3000 / float(str(row["elapsed_s"])),
                        own_s / 3000 * 1e6,
                    )
                )
        for workers, found in figures.items():
            say(
                f"  {workers} workers: {median(rate for rate, _ in found):,.0f} requests/s, "
                f"{median(us for _, us in found):.0f} us CPU a request, "
                f"{rss_mb(points[workers]):.0f} MB"
            )
