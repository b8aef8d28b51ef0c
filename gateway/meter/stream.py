"""The meter of event streams: looks at all bytes, decodes only the few events that matter."""

from collections.abc import Mapping

from gateway.domain.usage import Measurement
from gateway.meter.estimate import tokens_of_text
from gateway.meter.reading import Reading, Seen
from gateway.meter.sampler import TextSampler
from gateway.wire.json_values import object_in
from gateway.wire.sse import (
    EVENT_BYTES_MAX,
    EventFramer,
    event_span,
    event_spans,
    parse_event,
)

_DONE = b"[DONE]"


class StreamMeter:
    """Measures server-sent events in one dialect."""

    __slots__ = (
        "_event_bytes_max",
        "_framer",
        "_losses_at_usage",
        "_measured",
        "_needles",
        "_place",
        "_reading",
        "_sampler",
        "has_first_token",
        "is_complete",
    )

    def __init__(self, reading: Reading, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.has_first_token = False
        self.is_complete = False
        self._event_bytes_max = event_bytes_max
        self._reading = reading
        self._needles = reading.needles
        self._framer = EventFramer(event_bytes_max=event_bytes_max)
        self._sampler = TextSampler()
        # Bytes of whole events so far.
        self._place = 0
        self._losses_at_usage = 0
        self._measured: Measurement | None = None

    def feed(self, piece: bytes) -> None:
        if len(piece) <= self._event_bytes_max:
            if blocks := self._framer.feed(piece):
                self._scan(blocks)
            return
        for start in range(0, len(piece), self._event_bytes_max):
            self.feed(piece[start : start + self._event_bytes_max])

    def finish(self) -> Measurement:
        if self._measured is None:
            if rest := self._framer.finish():
                self._scan(rest)
            self._measured = self._reading.measurement(
                Seen(
                    output_tokens=self._seen_tokens,
                    has_content=self.has_first_token,
                    is_damaged=self._framer.losses > self._losses_at_usage,
                )
            )
        return self._measured

    def _scan(self, blocks: bytes) -> None:
        spans = None if self.has_first_token else self._opening_spans(blocks)
        # From the end, because CPython searches three times faster that way.
        search = blocks.rfind
        for needle in self._needles:
            index = search(needle)
            while index >= 0:
                span = event_span(blocks, index)
                if spans is None:
                    spans = {span}
                else:
                    spans.add(span)
                index = search(needle, 0, span[0])
        if spans is not None:
            for start, end in sorted(spans):
                self._read_event(blocks[start:end])
        place = self._place
        self._place = end = place + len(blocks)
        if end > self._sampler.next_at:
            self._sampler.take(blocks, place)

    def _opening_spans(self, blocks: bytes) -> set[tuple[int, int]] | None:
        """The first event with content, and the empty ones before it.

        They name the model and the tier, and tell which models declined before there was content.
        """
        needle = self._reading.content_needle
        if blocks.find(needle) < 0:
            return None
        spans = set()
        for start, end in event_spans(blocks):
            if blocks.find(needle, start, end) >= 0:
                document = _object_in(parse_event(blocks[start:end]).data)
                spans.add((start, end))
                if document is not None and self._reading.is_content(document):
                    self.has_first_token = True
                    break
        return spans

    def _read_event(self, block: bytes) -> None:
        data = parse_event(block).data
        if data == _DONE:
            self._reading.take_done()
            self.is_complete = self._reading.is_ended
            return
        document = _object_in(data)
        if document is None:
            return
        count = self._reading.usage_count
        self._reading.take_event(document, data)
        self.is_complete = self._reading.is_ended
        if self._reading.usage_count != count:
            self._losses_at_usage = self._framer.losses

    def _seen_tokens(self) -> int:
        """Counted only where the usage is missing; each event with content is a token at least."""
        text = self._sampler.text(self._place, self._text_bytes)
        lost_bytes = self._framer.losses * self._event_bytes_max
        return max(tokens_of_text(text.text_bytes + lost_bytes), text.events)

    def _text_bytes(self, block: bytes) -> int:
        data = parse_event(block).data
        document = _object_in(data)
        if document is None:
            # Cut short, perhaps in the middle of content.
            return 1 if data and data != _DONE else 0
        return self._reading.text_bytes(document)


def _object_in(data: bytes) -> Mapping[str, object] | None:
    if not data.startswith(b"{"):
        data = data.strip()
        if not data.startswith(b"{"):
            return None
    return object_in(data)
