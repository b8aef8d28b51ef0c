"""Memory over a million requests: resident size and open files of the whole product, by slices.

Streams and documents in turn, with a ledger, a PostHog collector and a cap, as in the benchmark.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from bench.contenders import Running, running
from bench.measure import Tools, faults_of
from bench.processes import rss_kb
from bench.run import workshop
from bench.scenarios import chosen

_SLICES = 20
_WARM_UP_SLICES = 4
_GROWTH_MB_MAX = 8.0
"""Over all slices but the first few: what an allocator's whims may look like."""
_GROWTH_FILES_MAX = 8
"""Idle connections and segments come and go between two samples."""
_SCENARIOS = ("json", "burst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The gateway's own processes after so many requests, a moment after the last one."""

    requests: int
    rss_mb: float
    open_files: int
    seconds: float


@click.command()
@click.option("--requests", default=1_000_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Samples as JSON on standard output.")
def main(requests: int, *, as_json: bool) -> None:
    """Fails where memory or open files go on growing after the first fifth."""
    samples: list[Sample] = []
    began_s = time.monotonic()
    with (
        workshop() as (place, tools),
        running("gateway", place) as gateway,
        click.progressbar(range(_SLICES), label="soak", file=sys.stderr) as slices,
    ):
        for number in slices:
            _load(tools, gateway, _SCENARIOS[number % 2], requests // _SLICES)
            time.sleep(gateway.rest_s)
            own, _ = gateway.pids()
            samples.append(
                Sample(
                    requests=(number + 1) * (requests // _SLICES),
                    rss_mb=round(rss_kb(own) / 1024, 1),
                    open_files=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in own),
                    seconds=round(time.monotonic() - began_s, 1),
                )
            )
    rest = samples[_WARM_UP_SLICES - 1 :]
    growth_mb = max(sample.rss_mb for sample in rest[-2:]) - rest[0].rss_mb
    half = len(rest) // 2
    growth_files = max(s.open_files for s in rest[half:]) - max(s.open_files for s in rest[:half])
    if as_json:
        click.echo(json.dumps([asdict(sample) for sample in samples]))
    else:
        for sample in samples:
            click.echo(
                f"{sample.requests:>10,} requests  {sample.rss_mb:6.1f} MB  "
                f"{sample.open_files} open files  {sample.seconds:6.1f} s"
            )
        click.echo(
            f"growth after {rest[0].requests:,}: {growth_mb:+.1f} MB, {growth_files:+d} files"
        )
    sys.exit(0 if growth_mb <= _GROWTH_MB_MAX and growth_files <= _GROWTH_FILES_MAX else 1)


def _load(tools: Tools, gateway: Running, name: str, requests: int) -> None:
    (scenario,) = chosen(name)
    options = ("-c", str(scenario.connections), "-n", str(requests))
    row = tools.finish(tools.begin(tools.command(scenario, gateway, *options)))
    if faults := faults_of(row):
        raise RuntimeError(f"{name}: {faults}")


if __name__ == "__main__":
    main()
