"""Array literals: parameters that cost half of what the driver's own encoding of a list does.

A statement takes one as `$1::text::bigint[]`.
Source: PostgreSQL manual, 8.15.2 "Array Value Input".
"""

from collections.abc import Iterable
from decimal import Decimal

NULL = "NULL"
_to_digits = int.__repr__  # Of nothing but whole numbers: True is one, "1" and None are none.
_to_boolean = {True: "t", False: "f"}.__getitem__


def array(elements: Iterable[str]) -> str:
    """Of elements that are written as literals already."""
    return "{" + ",".join(elements) + "}"


def integers(values: Iterable[int]) -> str:
    """Raises TypeError where one is none."""
    return array(map(_to_digits, values))


def decimals(values: Iterable[Decimal]) -> str:
    return array(map(str, values))


def booleans(values: Iterable[bool]) -> str:
    return array(map(_to_boolean, values))


def quoted(text: str) -> str:
    """An element of an array of text, whatever it holds but NUL."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
