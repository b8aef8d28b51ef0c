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
