"""How much text a stream carried, from a few of its events, for streams that end without usage."""

from collections.abc import Callable
from typing import NamedTuple

# The first events are all looked at, so that a short stream is counted and not guessed; after
# them the gap between two grows with the stream.
_CONTIGUOUS_MAX = 8
_SAMPLE_BYTES_MAX = 4096
_BLANK_LINE = b"\n\n"


class Text(NamedTuple):
    """Bytes of content, and the number of events that carried some."""

    text_bytes: int
    events: int


class _Sample(NamedTuple):
    start: int
    event_bytes: int
    event: bytes


class TextSampler:
    """Keeps events at growing distances, of which each stands for the bytes up to the next.

    What it keeps depends on the stream alone, never on the pieces in which it came.
    """

    __slots__ = ("_samples", "next_at")

    def __init__(self) -> None:
        self.next_at = 0
        """The place in the stream from which on the next event is wanted."""
        self._samples: list[_Sample] = []

    def take(self, blocks: bytes, place: int) -> None:
        """Look at blocks that begin at this place of the stream."""
        end_of_blocks = place + len(blocks)
        while self.next_at < end_of_blocks:
            start = self._event_start(blocks, self.next_at - place)
            if start >= len(blocks):
                self.next_at = end_of_blocks
                return
            end = blocks.find(_BLANK_LINE, start)
            end = len(blocks) if end < 0 else end + len(_BLANK_LINE)
            event = blocks[start : min(end, start + _SAMPLE_BYTES_MAX)]
            self._samples.append(_Sample(place + start, end - start, event))
            is_contiguous = len(self._samples) < _CONTIGUOUS_MAX
            self.next_at = place + end if is_contiguous else (place + end) * 4 // 3

    @staticmethod
    def _event_start(blocks: bytes, wanted: int) -> int:
        if wanted <= 0:
            return 0
        edge = blocks.find(_BLANK_LINE, max(wanted - len(_BLANK_LINE), 0))
        return len(blocks) if edge < 0 else edge + len(_BLANK_LINE)

    def text(self, stream_bytes: int, text_bytes_of: Callable[[bytes], int]) -> Text:
        """Estimate for a stream of this length; `text_bytes_of` reads one event."""
        text_bytes = events = 0
        ends = [sample.start for sample in self._samples[1:]] + [stream_bytes]
        for sample, end in zip(self._samples, ends, strict=True):
            found = text_bytes_of(sample.event)
            if len(sample.event) < sample.event_bytes:
                # Cut short here: a long event is taken for text as a whole.
                found = sample.event_bytes
            if found:
                span = max(end - sample.start, sample.event_bytes)
                text_bytes += -(-span * found // sample.event_bytes)
                events += -(-span // sample.event_bytes)
        return Text(text_bytes, events)
