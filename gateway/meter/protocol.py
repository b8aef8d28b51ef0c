"""What the relay asks of a meter: one response's bytes in, one measurement out."""

from typing import Protocol

from gateway.domain.usage import Measurement


class Meter(Protocol):
    """Reads one 2xx response. Bytes come without transfer framing, in any split."""

    @property
    def is_complete(self) -> bool:
        """The body's own end was seen: its terminal event, or the end of its JSON document."""
        ...

    @property
    def has_first_token(self) -> bool:
        """The first piece of content was seen."""
        ...

    def feed(self, piece: bytes) -> None:
        """Read a piece. Never raises, whatever the bytes hold; what it keeps is bounded."""
        ...

    def finish(self) -> Measurement:
        """What was measured, estimated where the end or the usage is missing. Idempotent."""
        ...
