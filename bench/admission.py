"""What the gateway takes before a request goes up: guard, hold, journal and preparation.

Read from the product's own histogram, in the whole product under load: a journal on a real disk
that is synced meanwhile, a PostgreSQL that takes rows, a team with a cap. One request at a time
shows what is added at rest; the burst shows what a busy core adds.
"""

import re
import sys
import urllib.request

import click

from bench.contenders import Running, running
from bench.measure import faults_of
from bench.run import workshop
from bench.scenarios import chosen
from gateway.telemetry.names import ADDED_LATENCY_S

_TARGET_S = 0.0003
_TIMEOUT_S = 10
_BUCKET = re.compile(rf'^{ADDED_LATENCY_S}_bucket\{{le="([^"]+)"\}} (\S+)$', re.MULTILINE)


def main() -> None:
    """Prints both, and fails where the 99th percentile at rest is over the target."""
    is_met = True
    with workshop() as (place, tools), running("gateway", place) as gateway:
        for name in ("short", "burst"):
            (scenario,) = chosen(name)
            tools.finish(tools.begin(tools.command(scenario, gateway, "-c", "1", "-n", "200")))
            before = _counts(gateway)
            options = ("-c", str(scenario.connections), "-n", "5000")
            row = tools.finish(tools.begin(tools.command(scenario, gateway, *options)))
            if faults := faults_of(row):
                raise RuntimeError(f"{name}: {faults}")
            counts = [
                (bound, after - then)
                for (bound, then), (_, after) in zip(before, _counts(gateway), strict=True)
            ]
            shares = ", ".join(
                f"{count / counts[-1][1]:.2%} <= {bound * 1e6:,.0f} us"
                for bound, count in counts[:4]
            )
            click.echo(f"{name}, {scenario.connections} at once, {counts[-1][1]:,} calls: {shares}")
            p99_s = _quantile(counts, 0.99)
            click.echo(
                f"    p50 <= {_quantile(counts, 0.5) * 1e6:,.0f} us, p99 <= {p99_s * 1e6:,.0f} us"
            )
            is_met = is_met and (name != "short" or p99_s <= _TARGET_S)
    sys.exit(0 if is_met else 1)


def _counts(gateway: Running) -> list[tuple[float, int]]:
    """Calls that took at most so many seconds."""
    with urllib.request.urlopen(f"{gateway.admin_url}/metrics", timeout=_TIMEOUT_S) as answer:
        text = answer.read().decode()
    return [(float(bound), int(float(count))) for bound, count in _BUCKET.findall(text)]


def _quantile(counts: list[tuple[float, int]], share: float) -> float:
    """The bound of the bucket that holds it."""
    return next(bound for bound, count in counts if count >= share * counts[-1][1])


if __name__ == "__main__":
    main()
