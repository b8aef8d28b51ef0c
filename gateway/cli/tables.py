"""Tables for people."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TextIO

from rich.console import Console
from rich.table import Table


def table(rows: Sequence[Mapping[str, object]], file: TextIO) -> str:
    """Rows with the names of the first one's fields above them."""
    drawn = Table(show_edge=False, header_style="bold")
    for name, value in rows[0].items():
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        drawn.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*(_cell(value) for value in row.values()))
    console = Console(file=file, width=None if file.isatty() else 10_000)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
