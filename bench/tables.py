"""The tables of a run, once for the terminal and once for the documents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.figures import BASE, Spread, added_us, cpu_of, number, paired, spread
from bench.measure import Row
from bench.scenarios import ALL, Scenario
from bench.targets import verdicts

Line = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A titled table of text."""

    title: str
    note: str
    head: Line
    lines: list[Line]

    def markdown(self) -> str:
        rows = [self.head, ["---"] * len(self.head), *self.lines]
        table = "\n".join("| " + " | ".join(line) + " |" for line in rows)
        return f"## {self.title}\n\n{self.note}\n\n{table}\n"

    def show(self, console: Console) -> None:
        table = Table(title=self.title, caption=escape(self.note), title_justify="left")
        for place, name in enumerate(self.head):
            table.add_column(name, justify="left" if place < 2 else "right", no_wrap=True)
        for line in self.lines:
            table.add_row(*(escape(cell.replace("**", "")) for cell in line))
        console.print(table)


def sheets(rows: Sequence[Row], names: Sequence[str]) -> list[Sheet]:
    """Every table for which something was measured."""
    found = [
        _targets(rows),
        _cpu(rows, names),
        _first_byte(rows, names),
        _delay(rows, names),
        _memory(rows, names),
        _prompts(rows, names),
    ]
    return [sheet for sheet in found if sheet.lines]


def _targets(rows: Sequence[Row]) -> Sheet:
    words = {True: "met", False: "**missed**", None: "not measured"}
    return Sheet(
        title="Targets",
        note="Of the whole product. Median, [least-most], n rounds.",
        head=["figure", "target", "measured", "n", ""],
        lines=[
            [
                verdict.says,
                f"<= {verdict.limit:g} {verdict.unit}",
                _text(verdict.measured),
                str(verdict.measured.count),
                words[verdict.is_met],
            ]
            for verdict in verdicts(rows)
            if verdict.measured is not None
        ],
    )


def _cpu(rows: Sequence[Row], names: Sequence[str]) -> Sheet:
    lines: list[Line] = []
    for scenario in _measured(rows, lambda one: one.is_ratio):
        for name in names:
            cost = spread(rows, scenario.name, name, cpu_of)
            if cost is None or name == "direct":
                continue
            unit = "ms/1000 ev" if scenario.per_event else "us/request"
            ratio = paired(rows, scenario.name, name, BASE)
            database = spread(rows, scenario.name, name, _database_share)
            lines.append(
                [
                    scenario.name,
                    name,
                    f"{cost.median:.1f} {unit}",
                    _text(ratio),
                    str(cost.count),
                    f"{database.median:.0%}" if database and database.median else "",
                ]
            )
    return Sheet(
        title="CPU",
        note="Of the contender's own processes; the database's beside it, as a share of that. "
        "The ratio is to the bare aiohttp relay of the same round: median [least-most]. "
        "`aiohttp_again` is a second bare relay, so that its ratio shows the noise.",
        head=["scenario", "contender", "CPU", "ratio", "n", "database"],
        lines=lines,
    )


def _database_share(row: Row) -> float:
    return number(row, "cpu_database_s") / (number(row, "cpu_contender_s") or float("nan"))


def _first_byte(rows: Sequence[Row], names: Sequence[str]) -> Sheet:
    return _times(
        rows,
        names,
        "short",
        "first_byte_us",
        title="Time to the first byte, one request at a time",
    )


def _delay(rows: Sequence[Row], names: Sequence[str]) -> Sheet:
    return _times(
        rows, names, "events", "delay_us", title="Delay of an event, 5,000 events a second"
    )


def _times(
    rows: Sequence[Row], names: Sequence[str], scenario: str, figure: str, *, title: str
) -> Sheet:
    lines: list[Line] = []
    for name in names:
        seen = [
            spread(rows, scenario, name, partial(_number, (figure, mark)))
            for mark in ("p50", "p99")
        ]
        if seen[0] is None:
            continue
        added = [added_us(rows, scenario, name, figure, mark) for mark in ("p50", "p99")]
        lines.append([name, *(_text(one, 0) for one in seen), *(_text(one, 0) for one in added)])
    return Sheet(
        title=title,
        note="Microseconds, and what is added to no proxy (`direct`) in the same round.",
        head=["contender", "p50", "p99", "added p50", "added p99"],
        lines=lines,
    )


def _memory(rows: Sequence[Row], names: Sequence[str]) -> Sheet:
    lines: list[Line] = []
    for scenario in _measured(rows, lambda one: one.is_fresh):
        for name in names:
            rss = spread(rows, scenario.name, name, lambda row: number(row, "rss_kb_per_stream"))
            if rss is None:
                continue
            kernel = spread(
                rows, scenario.name, name, lambda row: number(row, "kernel_kb_per_stream")
            )
            before = spread(rows, scenario.name, name, lambda row: number(row, "rss_before_kb"))
            lines.append(
                [
                    scenario.name,
                    name,
                    _text(rss, 1),
                    _text(kernel, 1) if scenario.is_stalled else "",
                    f"{before.median / 1024:.0f}" if before else "",
                ]
            )
    return Sheet(
        title="Memory a stream",
        note="KB of resident memory above that before the load, and KB of kernel memory in the "
        "contender's sockets, by stream; a fresh start each round.",
        head=["scenario", "contender", "RSS KB/stream", "kernel KB/stream", "MB before"],
        lines=lines,
    )


def _prompts(rows: Sequence[Row], names: Sequence[str]) -> Sheet:
    lines: list[Line] = []
    for scenario in _measured(rows, lambda one: one.has_probe):
        for name in names:
            wait = [
                spread(rows, scenario.name, name, partial(_number, ("probe_delay_us", mark)))
                for mark in ("p50", "p99", "max")
            ]
            if wait[0] is not None:
                lines.append([scenario.name, name, *(_text(one, 0) for one in wait)])
    return Sheet(
        title="What waits beside large prompts",
        note="Microseconds that an event of another stream waits while such prompts come one by "
        "one. `direct` shows what the machine itself adds.",
        head=["scenario", "contender", "p50", "p99", "longest"],
        lines=lines,
    )


def _number(path: tuple[str, ...], row: Row) -> float:
    return number(row, *path)


def _measured(rows: Sequence[Row], is_wanted: Callable[[Scenario], bool]) -> list[Scenario]:
    seen = {row["scenario"] for row in rows}
    return [scenario for scenario in ALL if scenario.name in seen and is_wanted(scenario)]


def _text(spread_: Spread | None, digits: int = 2) -> str:
    return "" if spread_ is None else spread_.text(digits)
