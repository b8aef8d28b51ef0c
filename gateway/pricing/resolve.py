"""From a model's name to its price data: exact, bounded and never a guess."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Generic, TypeVar

from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    TimeOfDateConstraint,
)

from gateway.pricing import compile as compiler
from gateway.pricing import source
from gateway.pricing.corrections import VERSION, corrected_rows

NAME_CHARS_MAX = 200
_NAMES_MAX = 4096
# Their names have no `:free` or the like; one that has is no name of theirs, whatever it starts as.
_WITHOUT_VARIANTS = frozenset({"anthropic", "deepseek", "gemini", "mistral", "xai"})

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class BoundedCache(Generic[KeyT, ValueT]):
    """A dictionary that forgets its oldest entry when it is full, whoever chooses the keys."""

    def __init__(self, entries_max: int) -> None:
        self._entries: dict[KeyT, ValueT] = {}
        self._entries_max = entries_max
        self.get = self._entries.get

    def put(self, key: KeyT, value: ValueT) -> None:
        if key not in self._entries and len(self._entries) >= self._entries_max:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Price data of a name; `is_free` where the name itself says that nothing is charged."""

    model: ModelInfo
    provider: str
    is_free: bool = False

    def rows(self, at: datetime, context: dict[str, str]) -> tuple[compiler.PriceRow, ...]:
        if self.is_free:
            return (compiler.free_row(),)
        prices = self.model.get_prices(at, context)
        rows = corrected_rows(self.provider, self.model.id, prices)
        return rows or compiler.duration_rows(prices) or ()

    def has_video_rate(self, at: datetime, context: dict[str, str]) -> bool:
        prices = vars(self.model.get_prices(at, context))
        return self.is_free or prices.get(compiler.VIDEO_KEY) is not None

    def price_version(self, at: datetime, context: dict[str, str]) -> str:
        prices = self.model.get_prices(at, context)
        published = compiler.price_rows(prices)
        is_corrected = published != corrected_rows(self.provider, self.model.id, prices)
        return f"{source.PRICE_VERSION}+{VERSION}" if is_corrected else source.PRICE_VERSION


class Resolver:
    """Finds price data by name; remembers what it found and, apart from that, what it did not."""

    def __init__(self) -> None:
        self._found: BoundedCache[tuple[str, str], Resolved] = BoundedCache(_NAMES_MAX)
        self._unknown: BoundedCache[tuple[str, str], bool] = BoundedCache(_NAMES_MAX)

    def resolve(self, provider: str, name: str, at: datetime) -> Resolved | None:
        """Price data of a model billed by tokens or by the hour, None where there is none."""
        if not is_plausible(name) or (provider in _WITHOUT_VARIANTS and ":" in name):
            return None
        key = (provider, name)
        found = self._found.get(key)
        if found is None and self._unknown.get(key) is None:
            found = _look_up(provider, name, at)
            if found is None:
                self._unknown.put(key, True)
            else:
                self._found.put(key, found)
        return found


def is_plausible(name: str) -> bool:
    """Printable ASCII without spaces: matching is by prefix, so any other tail could hide."""
    return (
        0 < len(name) <= NAME_CHARS_MAX
        and name.isascii()
        and name.isprintable()
        and " " not in name
    )


def _look_up(provider: str, name: str, at: datetime) -> Resolved | None:
    model = source.find_model(provider, name)
    if model is None:
        return None
    if source.is_named_free(model, name):
        return Resolved(model, provider, is_free=True)
    found = Resolved(model, provider)
    return found if found.rows(at, {}) else None


def window(model: ModelInfo, at: datetime) -> tuple[datetime, datetime]:
    """The part of the UTC day around `at` in which none of the model's prices changes."""
    at = at.astimezone(UTC)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    edges = {midnight, midnight + timedelta(days=1)}
    for moment in _daily_changes(model):
        edges.add(datetime.combine(midnight.date(), moment))
    return max(edge for edge in edges if edge <= at), min(edge for edge in edges if edge > at)


def _daily_changes(model: ModelInfo) -> set[time_of_day]:
    priced: list[ConditionalPrice | PriceVariant] = list(model.price_variants or ())
    if not isinstance(model.prices, ModelPrice):
        priced.extend(model.prices)
    moments: set[time_of_day] = set()
    for price in priced:
        if isinstance(price.constraint, TimeOfDateConstraint):
            moments.update(
                (_in_utc(price.constraint.start_time), _in_utc(price.constraint.end_time))
            )
    return moments


def _in_utc(moment: time_of_day) -> time_of_day:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    day = datetime(2000, 1, 1, tzinfo=UTC).date()
    return datetime.combine(day, moment).astimezone(UTC).timetz()
