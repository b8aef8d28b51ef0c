"""A meter that also passes what it reads to a collector of content, where that is configured."""

from gateway.domain.usage import Measurement
from gateway.meter.protocol import Meter
from gateway.wire.content import ContentCollector


class CollectingMeter:
    """Measures as the meter inside it does."""

    __slots__ = ("_collector", "_inner")

    def __init__(self, inner: Meter, collector: ContentCollector) -> None:
        self._inner = inner
        self._collector = collector

    @property
    def is_complete(self) -> bool:
        return self._inner.is_complete

    @property
    def has_first_token(self) -> bool:
        return self._inner.has_first_token

    def feed(self, piece: bytes) -> None:
        self._inner.feed(piece)
        self._collector.feed(piece)

    def finish(self) -> Measurement:
        return self._inner.finish()
