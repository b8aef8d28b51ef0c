"""Sends an event for each settlement, at least once, and never in the way of a request."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from gateway.domain.clock import Clock
from gateway.domain.entry import Settlement
from gateway.telemetry import names
from gateway.telemetry.event import serialised_event
from gateway.telemetry.transport import Answer, BatchTransport, Verdict, in_daemon_thread

_log = structlog.get_logger("gateway.events")

EVENTS_MAX = 500
# posthog's consumer ends a batch here; the server's own limit is 20 MiB.
BATCH_BYTES_MAX = 5 << 20
# Above posthog's own limit of an event the server drops it: better one without its content.
EVENT_BYTES_MAX = 900 * 1024
# An event comes from a few records and one request takes a millisecond of CPU: together is cheaper.
PACE_S = 0.5
WAIT_S = 1.0
REQUEST_TIMEOUT_S = 10.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
# Events made in one go: some 50 us, so that no running stream waits longer for the loop.
_SLICE = 4

REASON_REFUSED = "refused"
REASON_TOO_LARGE = "too_large"
REASON_UNSERIALISABLE = "unserialisable"


class SettlementSource(Protocol):
    """Where settlements come from; what is not acked comes again after a restart."""

    async def next_batch(self, *, rows_max: int, wait_s: float) -> list[Settlement]: ...

    def ack(self, count: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderCounts:
    """What became of the settlements taken so far: taken = sent + all dropped + queued."""

    taken: int = 0
    sent: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    queued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    settlement: Settlement
    json: bytes
    has_content: bool


class EventSender:
    """Takes settlements in order, sends their events in batches, acks what PostHog has taken.

    An outage only delays: the batch is tried again, at most 30 s apart, and what waits behind it
    stands in the journal. A batch that PostHog refuses for its content is halved until the one bad
    event is found, which alone is dropped, counted and logged.
    """

    def __init__(
        self,
        *,
        source: SettlementSource,
        host: str,
        project_key: str,
        clock: Clock,
        pace_s: float = PACE_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        backoff_first_s: float = BACKOFF_FIRST_S,
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self._source = source
        self._clock = clock
        self._transport = BatchTransport(
            host=host, project_key=project_key, timeout_s=request_timeout_s
        )
        self._pace_s = pace_s
        # The request's own limit counts from the last byte: a trickle would never reach it.
        self._exchange_max_s = 3 * request_timeout_s
        self._backoff_first_s = backoff_first_s
        self._backoff_max_s = backoff_max_s
        self._draining = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing_since_s: float | None = None
        self._taken = 0
        self._sent = 0
        self._dropped: Counter[str] = Counter()

    @property
    def counts(self) -> SenderCounts:
        dropped = dict(self._dropped)
        return SenderCounts(
            taken=self._taken,
            sent=self._sent,
            dropped=dropped,
            queued=self._taken - self._sent - sum(dropped.values()),
        )

    @property
    def is_delayed(self) -> bool:
        """PostHog does not take events now; they wait."""
        return self._failing_since_s is not None

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="event-sender")

    async def drain(self, timeout_s: float) -> bool:
        """Send what the source holds, as long as that takes no longer than `timeout_s`.

        Returns whether everything went out; the sender has ended either way, and what is left
        stands in the journal.
        """
        if self._task is None:
            return True
        self._draining.set()
        done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
        await self._stop()
        return bool(done)

    async def close(self) -> None:
        """Stop at once; a request on its way may still arrive, and then arrives twice."""
        await self._stop()
        self._transport.close()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _run(self) -> None:
        while True:
            is_last = self._draining.is_set()
            settlements = await self._taken_next(wait_s=0.0 if is_last else WAIT_S)
            if settlements:
                await self._send(settlements)
            elif is_last:
                return
            if len(settlements) < EVENTS_MAX:
                await self._pause()

    async def _taken_next(self, *, wait_s: float) -> list[Settlement]:
        try:
            settlements = await self._source.next_batch(rows_max=EVENTS_MAX, wait_s=wait_s)
        except Exception as exc:  # noqa: BLE001 - a sender that dies loses every later event.
            _log.error(names.LOG_EVENTS_FAILED, error=type(exc).__name__)
            return []
        self._taken += len(settlements)
        return settlements

    async def _send(self, settlements: Sequence[Settlement]) -> None:
        batches = _batches(await self._serialised(settlements))
        while batches:
            events = batches.pop()
            verdict = await self._verdict_on(events)
            if verdict is Verdict.ACCEPTED:
                self._sent += len(events)
            elif len(events) > 1:
                middle = len(events) // 2
                batches += [events[middle:], events[:middle]]
            elif verdict is Verdict.TOO_LARGE and events[0].has_content:
                batches.append([_without_content(events[0].settlement)])
            else:
                is_size = verdict is Verdict.TOO_LARGE
                self._drop(events[0].settlement, REASON_TOO_LARGE if is_size else REASON_REFUSED)
        self._source.ack(len(settlements))

    async def _serialised(self, settlements: Sequence[Settlement]) -> list[_Event]:
        events: list[_Event] = []
        for index, settlement in enumerate(settlements):
            if index % _SLICE == 0:
                await asyncio.sleep(0)
            try:
                events.append(_event(settlement))
            except (TypeError, ValueError, ArithmeticError):
                self._drop(settlement, REASON_UNSERIALISABLE)
        return events

    def _drop(self, settlement: Settlement, reason: str) -> None:
        self._dropped[reason] += 1
        _log.error(names.LOG_EVENTS_DROPPED, entry_id=settlement.entry.entry_id, reason=reason)

    async def _verdict_on(self, events: Sequence[_Event]) -> Verdict:
        """Ask until the answer is about the events and not about the moment."""
        attempt = 0
        while True:
            answer = await self._post([event.json for event in events])
            if answer.verdict is not Verdict.LATER:
                self._taken_again()
                return answer.verdict
            self._refused_for_now(answer)
            # Doubling stops long before the exponent could grow out of hand.
            backoff_s = min(self._backoff_first_s * 2 ** min(attempt, 20), self._backoff_max_s)
            asked_s = min(max(answer.retry_after_s or 0.0, 0.0), self._backoff_max_s)
            await asyncio.sleep(max(backoff_s, asked_s))
            attempt += 1

    async def _post(self, events: list[bytes]) -> Answer:
        try:
            # Not wait_for, which may swallow a cancellation: then we would never end.
            async with asyncio.timeout(self._exchange_max_s):
                return await in_daemon_thread(lambda: self._transport.post(events))
        except TimeoutError:
            self._transport.renew()
            return Answer(verdict=Verdict.LATER, cause="timeout")
        except Exception as exc:  # noqa: BLE001 - a sender that dies loses every later event.
            _log.error(names.LOG_EVENTS_FAILED, error=type(exc).__name__)
            return Answer(verdict=Verdict.LATER, cause=type(exc).__name__)

    def _refused_for_now(self, answer: Answer) -> None:
        if self._failing_since_s is None:
            self._failing_since_s = self._clock.monotonic_s()
            _log.warning(names.LOG_EVENTS_DELAYED, cause=answer.cause)

    def _taken_again(self) -> None:
        if self._failing_since_s is not None:
            outage_s = self._clock.monotonic_s() - self._failing_since_s
            self._failing_since_s = None
            _log.info(names.LOG_EVENTS_RESUMED, outage_s=round(outage_s, 3))

    async def _pause(self) -> None:
        """Let a batch gather, unless we are draining."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace_s):
                await self._draining.wait()


def _event(settlement: Settlement) -> _Event:
    generation = settlement.generation
    has_content = generation.input_json is not None or generation.output_json is not None
    json = serialised_event(settlement)
    if has_content and len(json) > EVENT_BYTES_MAX:
        return _without_content(settlement)
    return _Event(settlement=settlement, json=json, has_content=has_content)


def _without_content(settlement: Settlement) -> _Event:
    json = serialised_event(settlement, with_content=False)
    return _Event(settlement=settlement, json=json, has_content=False)


def _batches(events: Sequence[_Event]) -> list[list[_Event]]:
    """Batches of bounded size, the first one last, as a stack takes them."""
    batches: list[list[_Event]] = []
    size = BATCH_BYTES_MAX
    for event in events:
        if size + len(event.json) > BATCH_BYTES_MAX:
            batches.append([])
            size = 0
        batches[-1].append(event)
        size += len(event.json)
    batches.reverse()
    return batches
