"""Rounds over scenarios and contenders, paired: within a round all see the same machine."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.contenders import Place, Running, running
from bench.measure import Row, Tools, body_hash, faults_of, measured, with_probe
from bench.scenarios import BY_NAME, Scenario

# Those that no figure needs: a relay measured twice tells the noise of ratios only.
_RATIO_ONLY = frozenset({"aiohttp_again"})
_SCALED = frozenset({"gateway", "aiohttp"})
_BASELINE = "direct"


@dataclass(slots=True, kw_only=True)
class Run:
    """What was measured, and what went wrong."""

    rows: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    same_bytes: dict[str, bool] = field(default_factory=dict)
    """By contender: the body of a stream is the provider's, byte for byte."""


def rounds_of(scenario: Scenario, rounds: int) -> int:
    return min(rounds, scenario.rounds_max)


def contenders_of(scenario: Scenario, names: Sequence[str]) -> list[str]:
    """Those whose figure the scenario wants; no proxy is the baseline of times alone."""
    if scenario.is_scale:
        return [name for name in names if name in _SCALED]
    unwanted: set[str] = set() if scenario.is_ratio else set(_RATIO_ONLY)
    if (scenario.is_ratio and not scenario.has_probe) or scenario.is_fresh:
        unwanted.add(_BASELINE)
    return [name for name in names if name not in unwanted]


def measure_all(
    scenarios: Sequence[Scenario], names: Sequence[str], rounds: int, place: Place, tools: Tools
) -> Run:
    """Every scenario in every round on every contender, in alternating order."""
    run = Run()
    with ExitStack() as stack, _progress() as progress:
        standing = {name: stack.enter_context(running(name, place)) for name in names}
        _compare_bytes(run, tools, standing)
        total = sum(
            rounds_of(s, rounds) * len(contenders_of(s, names)) for s in scenarios if not s.is_fresh
        )
        task = progress.add_task("", total=total)
        for number, scenario, name in _order(
            [s for s in scenarios if not s.is_fresh], names, rounds
        ):
            progress.update(task, description=f"{scenario.name} {name}")
            _one(run, tools, scenario, standing[name], number)
            progress.advance(task)
    with _progress() as progress:
        fresh = list(_order([s for s in scenarios if s.is_fresh], names, rounds))
        for number, scenario, name in progress.track(fresh, description="fresh starts"):
            try:
                with running(name, place) as contender:
                    _warm(tools, contender)
                    _one(run, tools, scenario, contender, number)
            except RuntimeError as exc:
                # What was measured before it is worth keeping.
                run.faults.append(f"{scenario.name}, {name}, round {number}: {exc}")
    return run


def _order(
    scenarios: Sequence[Scenario], names: Sequence[str], rounds: int
) -> Iterator[tuple[int, Scenario, str]]:
    """Within a round a scenario goes over all contenders, forwards and backwards in turn."""
    for number in range(rounds):
        for scenario in scenarios:
            if number >= rounds_of(scenario, rounds):
                continue
            wanted = contenders_of(scenario, names)
            for name in wanted if number % 2 == 0 else reversed(wanted):
                yield number, scenario, name


def _one(run: Run, tools: Tools, scenario: Scenario, to: Running, number: int) -> None:
    row = measured(tools, scenario, to) | {"round": number}
    if scenario.has_probe:
        row["probe_delay_us"] = with_probe(tools, scenario, to)["delay_us"]
    if faults := faults_of(row):
        run.faults.append(f"{scenario.name}, {to.name}, round {number}: {faults}")
    run.rows.append(row)


def _warm(tools: Tools, to: Running) -> None:
    """Memory that is used once whatever comes is not a stream's."""
    body_hash(tools, BY_NAME["burst"], to)
    body_hash(tools, BY_NAME["json"], to)


def _compare_bytes(run: Run, tools: Tools, standing: dict[str, Running]) -> None:
    hashes = {name: body_hash(tools, BY_NAME["burst"], to) for name, to in standing.items()}
    with suppress(KeyError):
        truth = hashes[_BASELINE]
        run.same_bytes = {name: seen == truth for name, seen in hashes.items()}
        run.faults += [
            f"{name}: the body is not the provider's" for name, s in run.same_bytes.items() if not s
        ]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        transient=True,
        console=Console(stderr=True),
    )
