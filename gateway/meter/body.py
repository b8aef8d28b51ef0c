"""The meter of answers that are one JSON document: kept, within a bound, and decoded at the end."""

from gateway.domain.usage import Measurement
from gateway.meter.estimate import tokens_of_text
from gateway.meter.reading import Reading, Seen
from gateway.meter.stream import StreamMeter
from gateway.wire.json_values import object_in

BODY_BYTES_MAX = 64 << 20
_STREAM_STARTS = (b"data:", b"event:", b":")


class BodyMeter:
    """Measures one document. It is complete when it is whole, which only `finish` finds out."""

    __slots__ = ("_body_bytes", "_measured", "_pieces", "_reading", "is_complete")

    def __init__(self, reading: Reading) -> None:
        self.is_complete = False
        self._reading = reading
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._measured: Measurement | None = None

    @property
    def has_first_token(self) -> bool:
        return self._body_bytes > 0

    def feed(self, piece: bytes) -> None:
        self._body_bytes += len(piece)
        if self._body_bytes <= BODY_BYTES_MAX:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def finish(self) -> Measurement:
        if self._measured is None:
            body = b"".join(self._pieces)
            self._pieces.clear()
            self._measured = self._read(body)
            self.is_complete = self._measured.is_complete
        return self._measured

    def _read(self, body: bytes) -> Measurement:
        if body.lstrip().startswith(_STREAM_STARTS):
            # A stream under the wrong name.
            stream = StreamMeter(self._reading)
            stream.feed(body)
            return stream.finish()
        document = object_in(body)
        if document is None:
            return self._reading.measurement(
                Seen(
                    output_tokens=lambda: tokens_of_text(self._body_bytes),
                    has_content=self._body_bytes > 0,
                    is_damaged=True,
                )
            )
        self._reading.take_body(document, body)
        return self._reading.measurement(
            Seen(
                # Whole, but perhaps without a word: a token at least.
                output_tokens=lambda: max(tokens_of_text(self._reading.text_bytes(document)), 1),
                has_content=self._reading.is_content(document),
            )
        )
