"""`make bench`: measure the product beside others, print the tables, write docs/benchmarks."""

import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from bench import books
from bench.contenders import NAMES, Place, missing, provider
from bench.documents import Document, document_of, revision, write
from bench.measure import Tools
from bench.processes import Cores
from bench.rounds import Run, measure_all
from bench.scenarios import Scenario, chosen
from bench.tables import sheets
from bench.tools import MissingToolError, built

_DEFAULT_ROUNDS = 10
_WIDTH = 110
_DIRECTORY_MODE = 0o711  # proxies that give up root must reach their files


@contextmanager
def workshop() -> Iterator[tuple[Place, Tools]]:
    """Compiled tools, a provider that answers, cores, and a directory that goes at the end."""
    cores = Cores.chosen()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {cores.others})
    load, provider_binary = built("load"), built("provider")
    with (
        tempfile.TemporaryDirectory(prefix="gateway-bench-") as name,
        provider(provider_binary, cores) as port,
    ):
        directory = Path(name)
        directory.chmod(_DIRECTORY_MODE)
        place = Place(cores=cores, upstream_port=port, directory=directory)
        yield place, Tools(load=load, cores=cores, directory=directory)


def measured(
    scenarios: Sequence[Scenario], names: Sequence[str], rounds: int
) -> tuple[Run, books.Books | None]:
    """All rounds, and what the gateway's ledger says afterwards."""
    with workshop() as (place, tools):
        run = measure_all(scenarios, names, rounds, place, tools)
        return run, books.read(place.directory)


@click.command()
@click.option("--scenarios", default="all", help="Names or groups: main, big_prompt, scale, all.")
@click.option("--contenders", default=",".join(NAMES), help="In the order of the first round.")
@click.option("--rounds", type=click.IntRange(1, 100), default=_DEFAULT_ROUNDS)
@click.option("--json", "as_json", is_flag=True, help="Print the document; write nothing.")
@click.option("--write/--no-write", "is_written", default=True, help="Write docs/benchmarks.")
def main(scenarios: str, contenders: str, rounds: int, *, as_json: bool, is_written: bool) -> None:
    """Measure CPU, time and memory of the gateway beside other relays."""
    try:
        wanted = chosen(scenarios)
    except KeyError as exc:
        raise click.BadParameter(f"no scenario or group {exc}", param_hint="--scenarios") from exc
    asked = [name for name in contenders.split(",") if name]
    if unknown := [name for name in asked if name not in NAMES]:
        raise click.BadParameter(f"{unknown}: one of {NAMES}", param_hint="--contenders")
    skipped = [why for name in asked if (why := missing(name))]
    names = [name for name in asked if missing(name) is None]
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else _WIDTH)
    for why in skipped:
        console.print(f"[yellow]not measured:[/] {why}", highlight=False)
    measured_revision = revision()
    try:
        run, ledger = measured(wanted, names, rounds)
    except MissingToolError as exc:
        click.echo(str(exc), err=True)
        sys.exit(2)
    document = document_of(
        run.rows,
        names,
        rounds,
        revision=measured_revision,
        skipped=skipped,
        faults=run.faults,
        same_bytes=run.same_bytes,
        books=ledger.document() if ledger else None,
        books_say=ledger.text() if ledger else None,
    )
    _report(console, document, run, names, ledger)
    if as_json:
        click.echo(json.dumps(document))
    elif is_written:
        console.print(f"written: {write(document)}", highlight=False)
    sys.exit(1 if run.faults or (ledger and not ledger.is_balanced) else 0)


def _report(
    console: Console,
    document: Document,
    run: Run,
    names: Sequence[str],
    ledger: books.Books | None,
) -> None:
    for sheet in sheets(run.rows, names):
        sheet.show(console)
    console.print(f"revision {document['revision']}", highlight=False)
    if ledger is not None:
        console.print(f"the gateway's ledger: {ledger.text()}", highlight=False)
    for fault in run.faults:
        console.print(f"[red]fault:[/] {fault}", highlight=False)


if __name__ == "__main__":
    main()
