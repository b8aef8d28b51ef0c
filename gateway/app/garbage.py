"""Garbage collection as a server wants it: what start-up made is never walked again."""

import gc

# Requests leave few cycles behind: young objects are looked at seldom, old ones hardly ever.
_THRESHOLDS = (20_000, 50, 100)


def settle_garbage() -> None:
    """Call once, when start-up is over."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
