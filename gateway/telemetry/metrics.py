"""Prometheus metrics of one worker, on their own registry, with bounded labels only."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from gateway.domain.budget import BudgetStatus
from gateway.domain.entry import Settlement
from gateway.domain.money import PICO_PER_USD
from gateway.telemetry import names
from gateway.telemetry.sender import SenderCounts
from gateway.telemetry.tallies import CallTally, Histogram

_TOTAL = "_total"
_BY_CALL = ("provider", "dialect")
# Around the budget of the hot path: half a millisecond is much.
_ADDED_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHolds:
    """The holds of requests that run now."""

    count: int
    amount_pico_usd: int


class Metrics:
    """Counts what happens. Labels are provider, dialect, outcome, status class and the like.

    A key, a team or a text of a client is never one: their number has no bound. Amounts are doubles
    here, for graphs; the ledger alone is exact.
    """

    def __init__(self) -> None:
        # A second series beside each, which says when it began: nothing that we register.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # The library has none for it.
        self._registry = CollectorRegistry()
        self._upstream_errors = self._counter(names.UPSTREAM_ERRORS, ["provider", "error"])
        self._fail_opens = self._counter(names.FAIL_OPENS, [])
        self._watched = _Watched()
        self._registry.register(self._watched)

    def _counter(self, name: str, labels: list[str]) -> Counter:
        # The library adds the suffix to what it shows.
        short = name.removesuffix(_TOTAL)
        return Counter(short, names.METRICS[name], labels, registry=self._registry)

    def observe_settlement(self, settlement: Settlement) -> None:
        """Count a request that held money and has ended."""
        entry = settlement.entry
        by_call = (entry.provider, entry.dialect)
        tally = self._watched.calls.get(by_call)
        if tally is None:
            tally = self._watched.calls[by_call] = CallTally()
        tally.observe(settlement)

    def guard_decision(
        self, status: BudgetStatus, *, is_admitted: bool, failed_open: bool = False
    ) -> None:
        decisions = self._watched.decisions
        decision = (status.value, is_admitted)
        decisions[decision] = decisions.get(decision, 0) + 1
        if failed_open:
            self._fail_opens.inc()

    def upstream_failed(self, *, provider: str, error: str) -> None:
        """`error` is a code of one of our own errors."""
        self._upstream_errors.labels(provider, error).inc()

    def added_latency(self, seconds: float) -> None:
        """What the gateway itself took before a request went up: on the way of every request."""
        self._watched.added_s.observe(seconds)

    def watch_journal(
        self, reader: str, *, depth: Callable[[], int], oldest_age_s: Callable[[], float]
    ) -> None:
        """Show a journal reader's backlog; both are called at each scrape."""
        self._watched.journals[reader] = (depth, oldest_age_s)

    def watch_events(self, counts: Callable[[], SenderCounts]) -> None:
        """Show what became of the events; called at each scrape."""
        self._watched.events = counts

    def watch_holds(self, holds: Callable[[], OpenHolds]) -> None:
        """Show what running requests hold; called at each scrape."""
        self._watched.holds = holds

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Watched(Collector):
    """Reads what other parts count themselves, at the moment of a scrape."""

    def __init__(self) -> None:
        self.journals: dict[str, tuple[Callable[[], int], Callable[[], float]]] = {}
        self.events: Callable[[], SenderCounts] | None = None
        self.holds: Callable[[], OpenHolds] | None = None
        self.calls: dict[tuple[str, str], CallTally] = {}
        self.decisions: dict[tuple[str, bool], int] = {}
        self.added_s = Histogram(_ADDED_BUCKETS_S)

    @override
    def collect(self) -> Iterator[Metric]:
        yield from self._calls()
        yield from self._times()
        yield self._decisions()
        yield from self._journals()
        yield from self._events()
        yield from self._holds()

    def _calls(self) -> Iterator[Metric]:
        requests = _counter(names.REQUESTS, [*_BY_CALL, "outcome", "status"])
        tokens = _counter(names.TOKENS, [*_BY_CALL, "type"])
        cost_usd = _counter(names.COST_USD, _BY_CALL)
        for by_call, tally in self.calls.items():
            for (outcome, status_class), count in tally.requests.items():
                requests.add_metric([*by_call, outcome, f"{status_class}xx"], count)
            for kind, count in tally.tokens.items():
                if count:
                    tokens.add_metric([*by_call, kind], count)
            cost_usd.add_metric(by_call, tally.cost_pico_usd / PICO_PER_USD)
        yield from (requests, tokens, cost_usd)
        yield self._rare(names.ESTIMATES, lambda tally: tally.estimates)
        yield self._rare(names.CEILINGS, lambda tally: tally.ceilings)
        yield self._rare(names.TTL_UPGRADES, lambda tally: tally.ttl_upgrades)
        yield self._rare(names.CLIENT_ABORTS, lambda tally: tally.client_aborts)

    def _rare(self, name: str, count_of: Callable[[CallTally], int]) -> Metric:
        family = _counter(name, _BY_CALL)
        for by_call, tally in self.calls.items():
            if count := count_of(tally):
                family.add_metric(by_call, count)
        return family

    def _times(self) -> Iterator[Metric]:
        duration = _histogram(names.DURATION_S, _BY_CALL)
        first_token = _histogram(names.FIRST_TOKEN_S, _BY_CALL)
        for by_call, tally in self.calls.items():
            for family, seen in ((duration, tally.duration_s), (first_token, tally.first_token_s)):
                family.add_metric(by_call, seen.buckets, seen.sum_s)
        added = _histogram(names.ADDED_LATENCY_S, ())
        added.add_metric((), self.added_s.buckets, self.added_s.sum_s)
        yield from (duration, first_token, added)

    def _decisions(self) -> Metric:
        decisions = _counter(names.GUARD_DECISIONS, ["status", "answer"])
        for (status, is_admitted), count in self.decisions.items():
            decisions.add_metric([status, "admitted" if is_admitted else "refused"], count)
        return decisions

    def _journals(self) -> Iterator[Metric]:
        depths = _gauge(names.JOURNAL_DEPTH, ["reader"])
        ages_s = _gauge(names.JOURNAL_AGE_S, ["reader"])
        for reader, (depth, oldest_age_s) in self.journals.items():
            depths.add_metric([reader], depth())
            ages_s.add_metric([reader], oldest_age_s())
        yield depths
        yield ages_s

    def _events(self) -> Iterator[Metric]:
        if self.events is None:
            return
        counts = self.events()
        sent = _counter(names.EVENTS_SENT, [])
        sent.add_metric([], counts.sent)
        dropped = _counter(names.EVENTS_DROPPED, ["reason"])
        for reason, count in counts.dropped.items():
            dropped.add_metric([reason], count)
        queued = _gauge(names.EVENTS_QUEUED, [])
        queued.add_metric([], counts.queued)
        yield from (sent, dropped, queued)

    def _holds(self) -> Iterator[Metric]:
        if self.holds is None:
            return
        holds = self.holds()
        count = _gauge(names.HOLDS_OPEN, [])
        count.add_metric([], holds.count)
        amount = _gauge(names.HOLDS_USD, [])
        amount.add_metric([], holds.amount_pico_usd / PICO_PER_USD)
        yield from (count, amount)


def _gauge(name: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, names.METRICS[name], labels=labels)


def _histogram(name: str, labels: Sequence[str]) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, names.METRICS[name], labels=labels)


def _counter(name: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(name.removesuffix(_TOTAL), names.METRICS[name], labels=labels)
