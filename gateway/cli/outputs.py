"""Where a long result goes: standard output, or a file that appears only when it is whole."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.cli.session import CommandError

output_option = click.option(
    "--output",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; default: standard output.",
)


@contextmanager
def opened(output: Path | None, *, is_binary: bool) -> Iterator[IO[bytes]]:
    """A binary stream; a file gets its name at the end, so that half of one is never taken for it.

    Raises:
        CommandError: bytes would go to a terminal, or the file cannot be written.
    """
    if output is None:
        if is_binary and sys.stdout.isatty():
            raise CommandError("this format is not text: add --output FILE, or pipe it", status=2)
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
        partial.replace(output)
    except OSError as exc:
        raise CommandError(f"{output} cannot be written: {exc.strerror or exc}") from exc
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def progress(label: str, total: int) -> Iterator["Advance"]:
    """A bar on standard error while that is a terminal, and nothing at all otherwise."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield Advance(bar, label, total)


class Advance:
    """Tells a bar how many rows are done."""

    def __init__(self, bar: Progress, label: str, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task(label, total=total)

    def by(self, rows: int) -> None:
        self._bar.advance(self._task, rows)
