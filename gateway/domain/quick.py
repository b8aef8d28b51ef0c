"""Frozen dataclasses that are made as fast as others: a request makes some twenty of them."""

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

_T = TypeVar("_T")


def quick(cls: type[_T]) -> type[_T]:
    """Give a frozen, slotted dataclass with keywords alone an `__init__` that is half the price.

    The generated one writes every field by a call of `object.__setattr__`. This one writes plain
    attributes while the object is of a twin class, which has the same slots and is not frozen.
    """
    own: tuple[Any, ...] = fields(cls)  # type: ignore[arg-type]
    assert all(field.init and field.kw_only for field in own), cls
    twin = type(cls.__name__, (), {"__slots__": tuple(field.name for field in own)})
    names: dict[str, Any] = {
        "cls": cls,
        "twin": twin,
        "turn": object.__setattr__,
        "absent": MISSING,
    }
    parameters, lines = [], ["turn(self, '__class__', twin)"]
    for field in own:
        name, value = field.name, field.name
        if field.default is not MISSING:
            names[f"of_{name}"] = field.default
            parameters.append(f"{name}=of_{name}")
        elif field.default_factory is not MISSING:
            names[f"of_{name}"] = field.default_factory
            parameters.append(f"{name}=absent")
            value = f"of_{name}() if {name} is absent else {name}"
        else:
            parameters.append(name)
        lines.append(f"self.{name} = {value}")
    lines.append("self.__class__ = cls")
    body = "\n    ".join(lines)
    # As the dataclass decorator does it: all of the text is field names.
    exec(f"def __init__(self, *, {', '.join(parameters)}):\n    {body}", names)  # noqa: S102
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = init  # type: ignore[method-assign]
    return cls
