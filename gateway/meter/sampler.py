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


class TextSampler:
    """Keeps events at growing distances, of which each stands for the bytes up to the next.

    What it keeps depends on the stream alone, never on the pieces in which it came.
    """

    __slots__ = ("_samples", "next_at")

    def __init__(self) -> None:
        self.next_at = 0
        """The place in the stream from which on the next event is wanted."""
        # Place, length and bytes of an event each.
        self._samples: list[tuple[int, int, bytes]] = []

    def take(self, blocks: bytes, place: int) -> None:
        """Look at blocks that begin at this place of the stream."""
        samples, find = self._samples, blocks.find
        size = len(blocks)
        wanted = self.next_at - place
        start = 0
        while wanted < size:
            if wanted > start:
                # An event begins after a blank line.
                edge = find(_BLANK_LINE, max(wanted - 2, 0))
                start = edge + 2
                if edge < 0 or start >= size:
                    wanted = size
                    break
            edge = find(_BLANK_LINE, start)
            # A third line feed in a row begins a block that has no blank line of its own.
            end = size if edge < 0 else edge + 2
            samples.append((place + start, end - start, blocks[start:end][:_SAMPLE_BYTES_MAX]))
            start = end
            wanted = end if len(samples) < _CONTIGUOUS_MAX else (place + end) * 3 // 2 - place
        self.next_at = place + wanted

    def text(self, stream_bytes: int, text_bytes_of: Callable[[bytes], int]) -> Text:
        """Estimate for a stream of this length; `text_bytes_of` reads one event."""
        text_bytes = events = 0
        if not self._samples:
            return Text(0, 0)
        end = stream_bytes
        for start, event_bytes, event in reversed(self._samples):
            found = text_bytes_of(event)
            if len(event) < event_bytes:
                # Cut short here: a long event is taken for text as a whole.
                found = event_bytes
            if found:
                span = max(end - start, event_bytes)
                text_bytes += -(-span * found // event_bytes)
                events += -(-span // event_bytes)
            end = start
        return Text(text_bytes, events)
