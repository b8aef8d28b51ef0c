"""`make bench-gate`: fail where the product's CPU, against a bare relay's, has grown.

CPU of two programs in the same rounds on the same core, so that neither a slow machine nor a busy
one moves the figure. `--choose` writes new limits from what it measures.
"""

import json
import math
import sys
from pathlib import Path

import click

from bench.figures import BASE, Spread, paired
from bench.run import measured
from bench.scenarios import chosen
from bench.tools import MissingToolError

LIMITS = Path(__file__).parent / "gate.json"
MARGIN = 1.6
# Five rounds after the tests, on a machine with other tenants, once gave 2.46 where ten gave 1.71.
_ROUNDS = 9


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=_ROUNDS)
@click.option("--choose", is_flag=True, help="Write limits: the medians times the margin.")
def main(rounds: int, *, choose: bool) -> None:
    """Compare CPU ratios with bench/gate.json."""
    limits: dict[str, float] = json.loads(LIMITS.read_text())["ratio_max"]
    try:
        run, ledger = measured(chosen(",".join(limits)), ["gateway", BASE], rounds)
    except MissingToolError as exc:
        click.echo(str(exc), err=True)
        sys.exit(2)
    ratios = {name: paired(run.rows, name, "gateway", BASE) for name in limits}
    for fault in run.faults:
        click.echo(f"fault: {fault}", err=True)
    if choose:
        _choose(ratios)
        return
    is_kept = True
    for name, ratio in ratios.items():
        assert ratio is not None, "every scenario of the gate is measured"
        is_within = ratio.median <= limits[name]
        is_kept = is_kept and is_within
        verdict = "within" if is_within else "OVER"
        click.echo(
            f"{name}: CPU {ratio.text()} of a bare relay's, {verdict} the limit {limits[name]:g}"
        )
    is_right = ledger is not None and ledger.is_balanced and not run.faults
    sys.exit(0 if is_kept and is_right else 1)


def _choose(ratios: dict[str, Spread | None]) -> None:
    chosen_limits = {
        name: math.ceil(ratio.median * MARGIN * 100) / 100
        for name, ratio in ratios.items()
        if ratio
    }
    document = {"margin": MARGIN, "ratio_max": chosen_limits}
    LIMITS.write_text(json.dumps(document, indent=2) + "\n")
    click.echo(LIMITS.read_text(), nl=False)


if __name__ == "__main__":
    main()
