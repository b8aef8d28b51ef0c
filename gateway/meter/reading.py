"""What a dialect makes of decoded events or of a whole body, apart from how the bytes came."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

from gateway.domain.usage import Measurement
from gateway.domain.value import Value


class Seen(Value, frozen=True, kw_only=True):
    """What the bytes themselves showed; the output is counted where somebody asks.

    `is_damaged`: something was lost after the last usage, or could not be read at all.
    """

    output_tokens: Callable[[], int]
    has_content: bool
    is_damaged: bool = False

    @property
    def is_nothing(self) -> bool:
        """Nothing that a model wrote came, and nothing was lost that may have been such."""
        return not (self.has_content or self.is_damaged)


class Reading(Protocol):
    """One response, as far as it was read. Takes whatever JSON object comes and never raises."""

    needles: ClassVar[tuple[bytes, ...]]
    """Only events in whose bytes one of these occurs are decoded."""
    content_needle: ClassVar[bytes]
    """An event with content has this in its bytes."""

    @property
    def is_ended(self) -> bool:
        """The dialect's own end was seen."""
        ...

    @property
    def usage_count(self) -> int:
        """How many events with usage were taken."""
        ...

    def take_event(self, document: Mapping[str, object], data: bytes) -> None:
        """Read a decoded event that a needle found."""
        ...

    def take_done(self) -> None:
        """The stream said `[DONE]`."""
        ...

    def take_body(self, document: Mapping[str, object], data: bytes) -> None:
        """Read a response that came as one document."""
        ...

    def text_bytes(self, document: Mapping[str, object]) -> int:
        """Bytes of content that the model wrote, in an event or in a body."""
        ...

    def is_content(self, document: Mapping[str, object]) -> bool:
        """Whether an event begins or carries content."""
        ...

    def measurement(self, seen: Seen) -> Measurement:
        """The counts as they were told, completed by estimates where something is missing."""
        ...
