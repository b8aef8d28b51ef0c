"""The sender against a PostHog over real sockets: what arrives, what waits, what is given up."""

import asyncio
import threading
import time
from collections import deque
from contextlib import asynccontextmanager

import pytest

from gateway.domain.clock import SystemClock
from gateway.telemetry import sender as sender_module
from gateway.telemetry.sender import EventSender
from tests.fakes.clock import FakeClock
from tests.fakes.posthog import FakePostHog
from tests.fakes.settlements import settlement

pytestmark = pytest.mark.alone

CONTENT = '[{"role":"user","content":"CANARY-CONTENT"}]'


class QueueSource:
    """Settlements in memory, with the journal's promise: taken is not gone until it is acked."""

    def __init__(self, settlements=()):
        self.waiting = deque(settlements)
        self.unacked = 0
        self.acked = []
        self.failures = 0

    def put(self, *settlements):
        self.waiting.extend(settlements)

    async def next_batch(self, *, rows_max, wait_s):
        assert self.unacked == 0, "asked for more before the last was acked"
        if self.failures:
            self.failures -= 1
            raise RuntimeError("journal")
        for _ in range(int(wait_s / 0.005)):
            if self.waiting:
                break
            await asyncio.sleep(0.005)
        batch = list(self.waiting)[:rows_max]
        self.unacked = len(batch)
        return batch

    def ack(self, count):
        assert count == self.unacked
        self.acked += [self.waiting.popleft() for _ in range(count)]
        self.unacked = 0

    @property
    def depth(self):
        return len(self.waiting)


def ids(settlements):
    return [str(done.entry.entry_id) for done in settlements]


@pytest.fixture
async def posthog():
    async with FakePostHog() as fake:
        yield fake


@asynccontextmanager
async def sending(posthog, source, *, clock=None, **options):
    settings = {
        "pace_s": 0.01,
        "request_timeout_s": 2.0,
        "backoff_first_s": 0.02,
        "backoff_max_s": 0.1,
    } | options
    sender = EventSender(
        source=source,
        host=posthog.url,
        project_key="phc_test",
        clock=clock or SystemClock(),
        **settings,
    )
    await sender.start()
    try:
        yield sender
    finally:
        await sender.close()


async def test_settlements_arrive_as_one_compressed_batch_in_posthogs_format(posthog):
    source = QueueSource(settlement() for _ in range(3))
    expected = ids(source.waiting)
    async with sending(posthog, source) as sender:
        await posthog.wait_for_events(3)
        assert await sender.drain(5)
    assert posthog.event_ids == expected
    (batch,) = posthog.batches
    assert batch.path == "/batch/"
    assert batch.was_compressed
    assert batch.headers["User-Agent"].startswith("posthog-python/")
    assert batch.body["api_key"] == "phc_test"
    assert set(batch.body) == {"api_key", "batch", "historical_migration", "sent_at"}
    assert batch.events[0]["event"] == "$ai_generation"
    assert ids(source.acked) == expected
    assert (sender.counts.taken, sender.counts.sent, sender.counts.queued) == (3, 3, 0)


async def test_a_thousand_events_go_out_in_batches_of_five_hundred(posthog):
    source = QueueSource(settlement() for _ in range(1000))
    expected = ids(source.waiting)
    async with sending(posthog, source, pace_s=10):
        await posthog.wait_for_events(1000)
    assert posthog.event_ids == expected
    assert [len(batch.events) for batch in posthog.batches] == [500] * 2


async def test_event_arrives_long_before_ten_seconds_with_the_real_settings(posthog):
    source = QueueSource()
    sender = EventSender(
        source=source, host=posthog.url, project_key="phc_test", clock=SystemClock()
    )
    await sender.start()
    try:
        source.put(settlement())
        await posthog.wait_for_events(1, timeout_s=3)
        source.put(settlement())
        await posthog.wait_for_events(2, timeout_s=3)
    finally:
        await sender.close()


@pytest.mark.parametrize(
    "outage", ["503", "500", "429", "408", "401", "404", "302", "reset", "hang"]
)
async def test_outage_delays_events_and_loses_none(posthog, outage):
    posthog.script.extend([outage] * 3)
    posthog.retry_after_s = "0"
    source = QueueSource(settlement() for _ in range(5))
    expected = ids(source.waiting)
    async with sending(posthog, source, request_timeout_s=0.2) as sender:
        await posthog.wait_for_events(5)
        await sender.drain(5)
    assert posthog.event_ids == expected
    assert len(posthog.batches) == 4
    assert sender.counts.dropped == {}
    assert sender.counts.sent == 5
    assert not sender.is_delayed


async def test_refused_connection_is_an_outage_too():
    async with FakePostHog() as posthog:
        pass
    source = QueueSource([settlement()])
    async with sending(posthog, source) as sender:
        await asyncio.sleep(0.2)
        assert sender.is_delayed
        assert (sender.counts.taken, sender.counts.queued, source.depth) == (1, 1, 1)


async def test_unknown_host_is_an_outage_too(posthog):
    posthog.url = "http://posthog.invalid"
    source = QueueSource([settlement()])
    async with sending(posthog, source) as sender:
        async with asyncio.timeout(5):
            while not sender.is_delayed:
                await asyncio.sleep(0.01)
        assert source.depth == 1


async def test_retry_after_is_honoured(posthog):
    posthog.script.append("429")
    posthog.retry_after_s = "1"
    source = QueueSource([settlement()])
    started = time.monotonic()
    async with sending(posthog, source, backoff_first_s=0.01, backoff_max_s=5):
        await posthog.wait_for_events(1)
    assert time.monotonic() - started >= 1


async def test_retry_after_without_end_is_bounded(posthog):
    posthog.script.append("429")
    posthog.retry_after_s = "86400"
    source = QueueSource([settlement()])
    async with sending(posthog, source, backoff_max_s=0.1):
        await posthog.wait_for_events(1, timeout_s=3)


async def test_backoff_grows_to_its_bound(posthog, monkeypatch):
    posthog.mode = "503"
    waits = []
    real_sleep = asyncio.sleep

    async def noted_sleep(seconds):
        waits.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(sender_module.asyncio, "sleep", noted_sleep)
    source = QueueSource([settlement()])
    async with sending(posthog, source, backoff_first_s=0.5, backoff_max_s=30):
        while len([wait for wait in waits if wait >= 0.5]) < 8:
            await real_sleep(0.01)
    assert [wait for wait in waits if wait >= 0.5][:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_one_bad_event_is_found_and_dropped_alone(posthog):
    source = QueueSource(settlement() for _ in range(50))
    bad = ids(source.waiting)[17]
    expected = [event_id for event_id in ids(source.waiting) if event_id != bad]
    posthog.refused_ids = {bad}
    async with sending(posthog, source) as sender:
        await posthog.wait_for_events(49)
        await sender.drain(5)
    assert sorted(posthog.event_ids) == sorted(expected)
    assert sender.counts.dropped == {"refused": 1}
    assert source.depth == 0
    # Halving takes two questions a level, not one an event.
    assert len(posthog.batches) <= 2 * 6 + 1


async def test_outage_while_a_bad_event_is_sought_loses_nothing(posthog):
    source = QueueSource(settlement() for _ in range(8))
    bad = ids(source.waiting)[3]
    posthog.refused_ids = {bad}
    posthog.script.extend(["ok", "503", "ok", "reset"])
    async with sending(posthog, source) as sender:
        await posthog.wait_for_events(7)
        await sender.drain(5)
    assert sorted(posthog.event_ids) == sorted(set(ids(source.acked)) - {bad})
    assert sender.counts.dropped == {"refused": 1}


async def test_batch_that_is_too_large_is_halved(posthog):
    posthog.events_max = 10
    source = QueueSource(settlement() for _ in range(64))
    expected = ids(source.waiting)
    async with sending(posthog, source) as sender:
        await posthog.wait_for_events(64)
        await sender.drain(5)
    assert posthog.event_ids == expected
    assert sender.counts.dropped == {}


async def test_event_that_is_too_large_goes_without_its_content(posthog):
    posthog.bytes_max = 10_000
    large = settlement(input_json='["' + "x" * 20_000 + '"]')
    source = QueueSource([settlement(), large, settlement()])
    async with sending(posthog, source) as sender:
        events = await posthog.wait_for_events(3)
        await sender.drain(5)
    assert not any("$ai_input" in event["properties"] for event in events)
    assert sender.counts.dropped == {}


async def test_event_above_posthogs_own_limit_never_carries_its_content(posthog):
    large = settlement(input_json='["' + "x" * (1 << 20) + '"]')
    small = settlement(input_json=CONTENT)
    source = QueueSource([large, small])
    async with sending(posthog, source):
        events = await posthog.wait_for_events(2)
    assert ["$ai_input" in event["properties"] for event in events] == [False, True]


async def test_event_too_large_without_content_is_dropped_and_counted(posthog):
    posthog.mode = "413"
    source = QueueSource([settlement()])
    async with sending(posthog, source) as sender:
        await posthog.wait_for_batches(1)
        await sender.drain(5)
    assert sender.counts.dropped == {"too_large": 1}
    assert source.depth == 0


async def test_settlement_that_cannot_be_serialised_stops_nobody(posthog):
    good = settlement()
    source = QueueSource([settlement(response_model="bad\udcff"), good])
    async with sending(posthog, source) as sender:
        await posthog.wait_for_events(1)
        await sender.drain(5)
    assert posthog.event_ids == ids([good])
    assert sender.counts.dropped == {"unserialisable": 1}


async def test_generated_is_always_sent_dropped_and_queued(posthog):
    """Goal: no event is ever unaccounted for. Method: add at every moment while all kinds of faults happen."""
    source = QueueSource()
    generated = 0
    posthog.script.extend(["ok", "503", "ok", "reset", "429", "ok", "413"] * 4)
    posthog.retry_after_s = "0"
    async with sending(posthog, source, backoff_first_s=0.005, backoff_max_s=0.01) as sender:
        for _ in range(60):
            batch = [settlement() for _ in range(7)]
            posthog.refused_ids.add(ids(batch)[3])
            generated += len(batch)
            source.put(*batch)
            await asyncio.sleep(0.003)
            counts = sender.counts
            assert counts.taken == counts.sent + sum(counts.dropped.values()) + counts.queued
            assert generated == counts.taken + source.depth - source.unacked
        assert await sender.drain(20)
    counts = sender.counts
    assert source.depth == counts.queued == 0
    assert counts.sent + sum(counts.dropped.values()) == generated
    assert len(set(posthog.event_ids)) == counts.sent


async def test_hanging_posthog_blocks_neither_the_loop_nor_the_stop(posthog):
    posthog.mode = "hang"
    source = QueueSource(settlement() for _ in range(500))
    worst_s, started = 0.0, time.monotonic()
    async with sending(posthog, source, request_timeout_s=30) as sender:
        await posthog.wait_for_batches(1)
        for _ in range(100):
            before = time.monotonic()
            await asyncio.sleep(0.001)
            worst_s = max(worst_s, time.monotonic() - before)
        assert not await sender.drain(0.1)
    assert worst_s < 0.1
    assert time.monotonic() - started < 5
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "gateway-events")
    assert source.depth == 500


async def test_trickling_answer_is_given_up(posthog):
    """Goal: a server that sends a byte now and then cannot hold the sender. The thread alone would wait."""
    posthog.script.append("trickle")
    source = QueueSource([settlement()])
    async with sending(posthog, source, request_timeout_s=0.2):
        await posthog.wait_for_events(1, timeout_s=5)
    assert len(posthog.batches) == 2


async def test_what_was_not_acked_comes_again_with_the_same_id(posthog):
    source = QueueSource([settlement()])
    posthog.mode = "503"
    async with sending(posthog, source):
        await posthog.wait_for_batches(1)
    source.unacked = 0  # A new process reads from its last ack.
    posthog.mode = "ok"
    async with sending(posthog, source):
        await posthog.wait_for_events(1)
    assert {event["uuid"] for batch in posthog.batches for event in batch.events} == set(
        posthog.event_ids
    )


async def test_drain_sends_what_is_left_at_once(posthog):
    source = QueueSource()
    async with sending(posthog, source, pace_s=60) as sender:
        source.put(settlement())
        await posthog.wait_for_events(1)
        source.put(*(settlement() for _ in range(250)))
        assert await sender.drain(5)
    assert len(posthog.events) == 251


async def test_source_that_fails_is_asked_again(posthog):
    source = QueueSource([settlement()])
    source.failures = 2
    async with sending(posthog, source):
        await posthog.wait_for_events(1)


async def test_close_without_start_and_twice_is_nothing(posthog):
    sender = EventSender(source=QueueSource(), host=posthog.url, project_key="k", clock=FakeClock())
    assert await sender.drain(1)
    await sender.close()
    await sender.close()
