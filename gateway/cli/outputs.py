"""Where a long result goes: standard output, or a file that appears only when it is whole."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.cli.printing import STANDARD_OUTPUT, written
from gateway.cli.session import CommandError

output_option = click.option(
    "--output",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; default: standard output.",
)


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object: ...


class Output:
    """A binary stream whose errors say that it is the output which cannot be written."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self.closed = False
        """What the library that writes Parquet asks before it writes."""

    def write(self, data: bytes) -> int:
        with written(self._name):
            return self._stream.write(data)

    def flush(self) -> None:
        with written(self._name):
            self._stream.flush()


@contextmanager
def opened(output: Path | None, *, is_binary: bool) -> Iterator[Output]:
    """A binary stream; a file gets its name at the end, so that half of one is never taken for it.

    Raises:
        CommandError: bytes would go to a terminal, or the output cannot be written.
    """
    if output is None:
        if is_binary and sys.stdout.isatty():
            raise CommandError("this format is not text: add --output FILE, or pipe it", status=2)
        stdout = Output(sys.stdout.buffer, STANDARD_OUTPUT)
        yield stdout
        stdout.flush()
        return
    partial = output.with_name(f".{output.name}.partial")
    with written(str(output)):
        stream = partial.open("wb")
    try:
        file = Output(stream, str(output))
        yield file
        file.flush()
        with written(str(output)):
            stream.close()
            partial.replace(output)
    finally:
        # What is still in the buffer of a full disk has been told already.
        with suppress(OSError):
            stream.close()
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
