"""How commands print: JSON, tables and lines on standard output, and what is said if that fails."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal

import orjson

from gateway.cli.session import CommandError, Row
from gateway.cli.tables import table

STANDARD_OUTPUT = "standard output"


@contextmanager
def written(name: str) -> Iterator[None]:
    """Around each write of our own: its errors are not those of the database.

    Raises:
        CommandError: the disk is full, or the like. A reader that has enough stays a
            BrokenPipeError, which ends a command without a word.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise CommandError(f"cannot write {name}: {exc.strerror or exc}") from exc


def say(text: str) -> None:
    """One line on standard output, out of the buffer when this returns."""
    _write(f"{text}\n")


def plain(value: object) -> object:
    """A value as JSON has it: exact dollars as decimal strings, times in RFC 3339."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def json_document(result: object) -> bytes:
    """One JSON document, for people and programs."""
    return orjson.dumps(plain(result), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def print_json(result: object) -> None:
    """One JSON document on standard output."""
    _write(json_document(result).decode())


def print_rows(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Rows as a table for people, or as JSON; `empty` is what people read where there are none."""
    if as_json:
        print_json([dict(row) for row in rows])
    elif rows:
        _write(table(rows, sys.stdout))
    else:
        sys.stderr.write(f"{empty}\n")


def _write(text: str) -> None:
    with written(STANDARD_OUTPUT):
        sys.stdout.write(text)
        sys.stdout.flush()
