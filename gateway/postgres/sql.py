"""Statements live in `*.sql` files, each under its name and a line that says what it is for."""

import re
from pathlib import Path
from typing import LiteralString

_HEADER = re.compile(r"^-- name: ?(.*)$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class QueryFileError(Exception):
    """A file of statements is not in order; found at start-up."""


def load_queries(directory: Path) -> dict[str, LiteralString]:
    """Read every statement of every `*.sql` file in `directory`.

    Raises:
        QueryFileError: a name occurs twice or is malformed, a statement or its description is
            missing, or a file has text before its first name.
    """
    queries: dict[str, LiteralString] = {}
    for path in sorted(directory.glob("*.sql")):
        preamble, *parts = _HEADER.split(path.read_text(encoding="utf-8"))
        if preamble.strip():
            raise QueryFileError(f"{path}: text before the first `-- name:`")
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            key = name.strip()
            if not _NAME.fullmatch(key):
                raise QueryFileError(f"{path}: {key!r} is not a name")
            if key in queries:
                raise QueryFileError(f"{path}: {key} occurs twice")
            queries[key] = _statement(path, key, body)
    if not queries:
        raise QueryFileError(f"{directory} holds no statements")
    return queries


def _statement(path: Path, name: str, body: str) -> LiteralString:
    description, _, statement = body.strip().partition("\n")
    if not description.startswith("--") or not description.strip("- "):
        raise QueryFileError(f"{path}: {name} has no description")
    statement = statement.strip().removesuffix(";").rstrip()
    if not statement:
        raise QueryFileError(f"{path}: {name} has no statement")
    # The text is ours, read from a file beside the code: as literal as a string in it.
    return statement
