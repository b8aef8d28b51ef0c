"""Narrows values out of a provider's JSON, of which nothing is promised."""

from collections.abc import Mapping

NAME_CHARS_MAX = 200
_COUNT_MAX = 2**53
_NOTHING: Mapping[str, object] = {}


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
