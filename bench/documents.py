"""`docs/benchmarks/`: the rows of a run, the picture, and the page written from them."""

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.contenders import ROOT, versions
from bench.picture import drawn
from bench.scenarios import BY_NAME
from bench.tables import sheets
from bench.targets import verdicts

DIRECTORY = ROOT / "docs" / "benchmarks"
# What a run may share the machine with: a relay that waits for the core batches what it passes.
_QUIET_CORES = 0.2
NOTES = Path(__file__).parent / "notes.md"
Document = dict[str, object]

_HEAD = """\
# Benchmarks

<!-- Written by `make bench` from the last run's JSON; the notes come from bench/notes.md. -->

What the whole product costs: authentication, guard, hold, exact metering, price, journal, ledger,
event, metrics and log are on, the team has a cap, and a PostgreSQL and a PostHog collector take
what comes. Beside it, on the same core in the same rounds: a bare relay on aiohttp and uvloop that
does nothing else (`bench/bare_relay.py`), and nginx and envoy as plain proxies where they are
installed.

{facts}

![CPU against a bare relay]({picture})
"""
_REPEAT = """\
## How to repeat

    make bench                                          # all scenarios, 10 rounds, writes here
    make bench ROUNDS=3 SCENARIOS=burst,json CONTENDERS=gateway,aiohttp
    .venv/bin/python -m bench.run --help
    make bench-gate                                     # CI's gate: CPU against bench/gate.json

It needs Linux, two cores and a C compiler; nginx (Debian: nginx-light) and envoy (on the `PATH`,
or named in `BENCH_ENVOY`) are measured where they are. The contender has a core to itself; the
mock provider (`bench/provider.c`), the load generator (`bench/load.c`) and the contender's
PostgreSQL have the other. CPU is the kernel's clock of its processes, from a moment at which
nothing was left to do until nothing is left again, so that rows, events and log lines which
follow an answer count. A round takes every scenario over all contenders, in alternating order; a
ratio is taken within a round, and compared across machines where microseconds are not.

Before the rounds a body's hash through each contender is compared with the provider's own.
What two peers cost, measured by the same method: [peers.md](peers.md).
"""


def document_of(
    rows: Sequence[Document], names: Sequence[str], rounds: int, **more: object
) -> Document:
    """Everything that a reader of the figures may ask for."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": _machine(),
        "versions": versions(list(names)),
        "contenders": list(names),
        "rounds": rounds,
        **more,
        "rows": [_rounded(row) for row in rows],
    }


def write(document: Document, directory: Path = DIRECTORY) -> Path:
    """Write JSON, picture and page; returns the JSON's path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{document['date']}.json"
    path.write_text(_dump(document))
    rewrite(document, directory)
    return path


def rewrite(document: Document, directory: Path = DIRECTORY) -> None:
    """Write picture and page from a run's document."""
    picture = directory / f"{document['date']}.svg"
    picture.write_text(drawn(_rows(document), _caption(document)))
    (directory / "README.md").write_text(page(document, picture.name))


def page(document: Document, picture: str) -> str:
    """The README of the documents."""
    rows = _rows(document)
    names = [str(name) for name in _list(document["contenders"])]
    parts = [_HEAD.format(facts=_facts(document), picture=picture)]
    parts += [sheet.markdown() for sheet in sheets(rows, names)]
    missed = [verdict for verdict in verdicts(rows) if verdict.is_met is False]
    if missed:
        parts.append(
            "## Missed\n\n"
            + "\n".join(
                f"- {verdict.says}: {verdict.measured.median:.2f} {verdict.unit}, "
                f"target {verdict.limit:g}"
                for verdict in missed
                if verdict.measured is not None
            )
            + "\n"
        )
    parts += [NOTES.read_text(), _REPEAT, _scenarios(rows)]
    return "\n".join(parts)


def _scenarios(rows: Sequence[Document]) -> str:
    seen = {str(row["scenario"]) for row in rows}
    lines = [f"- `{name}`: {one.says}" for name, one in BY_NAME.items() if name in seen]
    return "## Scenarios\n\n" + "\n".join(lines) + "\n"


def _facts(document: Document) -> str:
    machine, found = _dict(document["machine"]), _dict(document["versions"])
    foreign = _foreign(document)
    facts = [
        f"- {document['date']}, revision {document['revision']}, {document['rounds']} rounds",
        f"- {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}",
        "- " + ", ".join(f"{name} {number}" for name, number in found.items()),
        f"- other work on the machine meanwhile: {foreign:.2f} cores (median)"
        + (", too much for times and for paced streams: repeat" if foreign > _QUIET_CORES else ""),
    ]
    if document.get("books"):
        facts.append(f"- the measured gateway's ledger afterwards: {document['books_say']}")
    facts += [f"- not measured: {why}" for why in _list(document.get("skipped", []))]
    facts += [f"- fault: {fault}" for fault in _list(document.get("faults", []))]
    return "\n".join(facts)


def _caption(document: Document) -> str:
    machine = _dict(document["machine"])
    return (
        f"{document['date']}, {document['revision']}, {machine['cpu']}, {document['rounds']} "
        "paired rounds; bar: median, whiskers: least and most"
    )


def _foreign(document: Document) -> float:
    shares = sorted(float(str(row["foreign_cores"])) for row in _rows(document))
    return shares[len(shares) // 2] if shares else 0.0


def revision() -> str:
    """The commit that is measured; `+changes` where files of the product differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "gateway")
    return f"{commit}+changes" if changed else commit


def _machine() -> Document:
    facts = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", facts, re.MULTILINE)
    return {
        "cpu": model.group(1).strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    }


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items() if inner not in (None, "")}
    return value


def _dump(document: Document) -> str:
    """JSON with one row a line, so that a diff of two runs can be read."""
    head = {name: value for name, value in document.items() if name != "rows"}
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in _rows(document))
    return json.dumps(head, indent=1)[:-2] + ',\n "rows": [\n' + rows + "\n]}\n"


def _rows(document: Document) -> list[Document]:
    return [_dict(row) for row in _list(document["rows"])]


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _dict(value: object) -> Document:
    assert isinstance(value, dict)
    return value


def main() -> None:
    """`python -m bench.documents`: page and picture anew, from the last run's JSON."""
    last = max(DIRECTORY.glob("*.json"))
    rewrite(json.loads(last.read_text()))


if __name__ == "__main__":
    main()
