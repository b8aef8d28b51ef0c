"""The base of the values that a request makes by the dozen."""

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False):
    """Frozen, compared by its fields, and made in an eighth of the time of a frozen dataclass.

    The collector does not look at one, so it must never be a part of a cycle. A subclass says
    `frozen=True, kw_only=True` itself: type checkers ask for the one, the other is not inherited.
    """
