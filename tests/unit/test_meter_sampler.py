"""The sampler of streams whose usage never came."""

import pytest

from gateway.meter.sampler import TextSampler


@pytest.mark.timeout(10)
@pytest.mark.parametrize("line_feeds", range(1, 8))
def test_any_number_of_line_feeds_between_events_ends(line_feeds):
    sampler = TextSampler()
    blocks = b"data: x" + b"\n" * line_feeds
    sampler.take(blocks, 0)
    assert sampler.next_at >= len(blocks) or line_feeds == 1


def test_of_a_long_event_little_is_kept_and_all_of_it_is_taken_for_text():
    sampler = TextSampler()
    event = b"data: " + b"a" * 1_000_000 + b"\n\n"
    sampler.take(event * 3, 0)
    looked_at: list[int] = []

    def text_bytes_of(sample: bytes) -> int:
        looked_at.append(len(sample))
        return 1

    found = sampler.text(3 * len(event), text_bytes_of)
    assert (found.text_bytes, found.events) == (3 * len(event), 3)
    assert max(looked_at) <= 4096
