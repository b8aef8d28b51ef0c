"""Tables for people: plain text whatever stands in it, and no number or id cut to fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Nobody reads a pipe or a file by its width.
_WIDTH_ELSEWHERE = 10_000
_BETWEEN_COLUMNS = 3
_EDGES = 1


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cells: Sequence[str]
    is_number: bool

    @property
    def width_least(self) -> int:
        """Text folds between words and a heading at its underscores; nothing else is divided."""
        words = [word for cell in self.cells for word in (cell.split() or [""])]
        return max(cell_len(part) for part in (*words, *self.name.split("_")))

    @property
    def width_wanted(self) -> int:
        return max(cell_len(text) for text in (*self.cells, self.name))


def table(rows: Sequence[Mapping[str, object]], file: TextIO) -> str:
    """Rows with the names of the first one's fields above them.

    A table that is too wide for the terminal folds its text; where that is not enough, each field
    has a line of its own.
    """
    columns = [
        _Column(
            name=name,
            cells=[shown(row[name]) for row in rows],
            is_number=isinstance(first, int | Decimal) and not isinstance(first, bool),
        )
        for name, first in rows[0].items()
    ]
    width = Console(file=file).width if file.isatty() else _WIDTH_ELSEWHERE
    spare = width - sum(column.width_least + _BETWEEN_COLUMNS for column in columns) + _EDGES
    if spare < 0:
        return _fields(columns, len(rows))
    return _drawn(columns, _widths(columns, spare), Console(file=file, width=width))


def shown(value: object) -> str:
    """A value on one line: times to the second, what a terminal would obey written out."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return printable(str(value))


def printable(text: str) -> str:
    """Control characters escaped: a name may come from anybody."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _widths(columns: Sequence[_Column], spare: int) -> list[int]:
    """What is left goes first to the columns that lack little."""
    widths = [column.width_least for column in columns]
    lacking = sorted(
        (column.width_wanted - column.width_least, number) for number, column in enumerate(columns)
    )
    for wanted, number in lacking:
        given = min(wanted, spare)
        widths[number] += given
        spare -= given
    return widths


def _drawn(columns: Sequence[_Column], widths: Sequence[int], console: Console) -> str:
    drawn = Table(show_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        drawn.add_column(
            Text(_folded(column.name, width)),
            justify="right" if column.is_number else "left",
            width=width,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        drawn.add_row(*(Text(cell) for cell in cells))
    with console.capture() as capture:
        console.print(drawn)
    return capture.get()


def _folded(name: str, width: int) -> str:
    """A heading over several lines, none of them longer than its column."""
    lines = [""]
    for part in name.split("_"):
        joined = f"{lines[-1]}_{part}" if lines[-1] else part
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(part)
    return "\n".join(lines)


def _fields(columns: Sequence[_Column], count: int) -> str:
    """`name  value` on a line each, an empty line between rows."""
    width = max(len(column.name) for column in columns)
    return "\n".join(
        "".join(f"{column.name:<{width}}  {column.cells[row]}\n" for column in columns)
        for row in range(count)
    )
