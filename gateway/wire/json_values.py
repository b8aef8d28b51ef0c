"""Narrows values out of a provider's JSON, of which nothing is promised."""

import json
import math
from collections.abc import Mapping

import orjson

NAME_CHARS_MAX = 200
_COUNT_MAX = 2**53
_NOTHING: Mapping[str, object] = {}
# Integers of 64 bits have no more, a sign included.
_DIGITS_MAX = 20


def object_in(data: bytes) -> dict[str, object] | None:
    """The JSON object that these bytes are, None where they are none.

    What the strict parser refuses is read as Python's own reads it: a lone surrogate, a count that
    is no number, or a NUL at the end would else hide the usage beside it.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = _leniently(data)
    return document if isinstance(document, dict) else None


def _leniently(data: bytes) -> object:
    text = data.decode("utf-8-sig", "replace").strip(" \t\r\n\0")
    if not (text.startswith("{") and text.endswith("}")):
        # Cut, most likely.
        return None
    try:
        document = _LENIENT.decode(text)
        # Written again without what nobody behind this could write: lone surrogates.
        strict = json.dumps(document, ensure_ascii=False).encode(errors="replace")
        return orjson.loads(strict)
    except (ValueError, RecursionError):
        return None


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS_MAX else digits


# A number that is none stays as it is written, so that it is seen to be no count.
_LENIENT = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=str, strict=False)


def count_or_none(holder: object, name: str) -> int | None:
    """A count, if there is one: a whole number from zero, also where it is written as `3.0`."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _COUNT_MAX else None


def text(holder: object, name: str) -> str | None:
    """A name of some kind (model, id, tier, reason), cut where it is absurdly long."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value[:NAME_CHARS_MAX] if isinstance(value, str) and value else None


def member(holder: object, name: str) -> Mapping[str, object]:
    """An object inside an object, empty where there is none."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else _NOTHING


def members(holder: object, name: str) -> list[Mapping[str, object]]:
    """The objects of an array inside an object."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
