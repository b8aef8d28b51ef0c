"""Prometheus metrics of one worker, on their own registry, with bounded labels only."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
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
from gateway.domain.usage import Usage, UsageSource
from gateway.telemetry import names
from gateway.telemetry.outcome import outcome_of
from gateway.telemetry.sender import SenderCounts

_TOTAL = "_total"
_DURATION_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_FIRST_TOKEN_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
# Around the budget of the hot path: half a millisecond is much.
_ADDED_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHolds:
    """The holds of requests that run now."""

    count: int
    amount_pico_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """What is counted for each request of one provider and dialect, its labels looked up once."""

    requests: Callable[[str, str], Counter]
    tokens: Callable[[str], Counter]
    cost_usd: Counter
    duration_s: Histogram
    first_token_s: Histogram


class Metrics:
    """Counts what happens. Labels are provider, dialect, outcome, status class and the like.

    A key, a team or a text of a client is never one: their number has no bound. Amounts are doubles
    here, for graphs; the ledger alone is exact.
    """

    def __init__(self) -> None:
        # A second series beside each, which says when it began: nothing that we register.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # The library has none for it.
        self._registry = CollectorRegistry()
        by_call = ["provider", "dialect"]
        self._requests = self._counter(names.REQUESTS, [*by_call, "outcome", "status"])
        self._tokens = self._counter(names.TOKENS, [*by_call, "type"])
        self._cost_usd = self._counter(names.COST_USD, by_call)
        self._estimates = self._counter(names.ESTIMATES, by_call)
        self._ceilings = self._counter(names.CEILINGS, by_call)
        self._ttl_upgrades = self._counter(names.TTL_UPGRADES, by_call)
        self._client_aborts = self._counter(names.CLIENT_ABORTS, by_call)
        self._upstream_errors = self._counter(names.UPSTREAM_ERRORS, ["provider", "error"])
        self._decisions = self._counter(names.GUARD_DECISIONS, ["status", "answer"])
        self._fail_opens = self._counter(names.FAIL_OPENS, [])
        self._duration_s = self._histogram(names.DURATION_S, by_call, _DURATION_BUCKETS_S)
        self._first_token_s = self._histogram(names.FIRST_TOKEN_S, by_call, _FIRST_TOKEN_BUCKETS_S)
        self._decision: Callable[[str, str], Counter] = cache(self._decisions.labels)
        self._series: dict[tuple[str, str], _Series] = {}
        self._watched = _Watched()
        self._registry.register(self._watched)

    def _counter(self, name: str, labels: list[str]) -> Counter:
        # The library adds the suffix to what it shows.
        short = name.removesuffix(_TOTAL)
        return Counter(short, names.METRICS[name], labels, registry=self._registry)

    def _histogram(self, name: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            name, names.METRICS[name], labels, buckets=buckets, registry=self._registry
        )

    def observe_settlement(self, settlement: Settlement) -> None:
        """Count a request that held money and has ended."""
        entry, generation = settlement.entry, settlement.generation
        by_call = (entry.provider, entry.dialect)
        series = self._series_of(by_call)
        status = f"{entry.http_status // 100}xx"
        series.requests(outcome_of(settlement).value, status).inc()
        for kind, count in _token_types(entry.usage):
            if count > 0:
                series.tokens(kind).inc(count)
        # A counter only rises: a negative amount, which no request has, would be refused.
        series.cost_usd.inc(max(0, entry.amounts.total_pico_usd) / PICO_PER_USD)
        series.duration_s.observe(generation.latency_s)
        if generation.time_to_first_token_s is not None:
            series.first_token_s.observe(generation.time_to_first_token_s)
        if entry.usage_source is UsageSource.ESTIMATED:
            self._estimates.labels(*by_call).inc()
        if entry.is_ceiling:
            self._ceilings.labels(*by_call).inc()
        if entry.cache_ttl_upgraded:
            self._ttl_upgrades.labels(*by_call).inc(entry.cache_ttl_upgraded)
        if entry.client_aborted:
            self._client_aborts.labels(*by_call).inc()

    def _series_of(self, by_call: tuple[str, str]) -> _Series:
        series = self._series.get(by_call)
        if series is None:
            series = self._series[by_call] = self._new_series(by_call)
        return series

    def _new_series(self, by_call: tuple[str, str]) -> _Series:
        return _Series(
            requests=cache(partial(self._requests.labels, *by_call)),
            tokens=cache(partial(self._tokens.labels, *by_call)),
            cost_usd=self._cost_usd.labels(*by_call),
            duration_s=self._duration_s.labels(*by_call),
            first_token_s=self._first_token_s.labels(*by_call),
        )

    def guard_decision(
        self, status: BudgetStatus, *, is_admitted: bool, failed_open: bool = False
    ) -> None:
        self._decision(status.value, "admitted" if is_admitted else "refused").inc()
        if failed_open:
            self._fail_opens.inc()

    def upstream_failed(self, *, provider: str, error: str) -> None:
        """`error` is a code of one of our own errors."""
        self._upstream_errors.labels(provider, error).inc()

    def added_latency(self, seconds: float) -> None:
        """What the gateway itself took before a request went up: on the way of every request."""
        added = self._watched.added
        added.counts[bisect_left(_ADDED_BUCKETS_S, seconds)] += 1
        added.sum_s += seconds

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


def _token_types(usage: Usage) -> tuple[tuple[str, int], ...]:
    """Disjoint counts: their sum is what the model read and wrote."""
    return (
        ("input_uncached", usage.input_uncached_tokens),
        ("cache_read", usage.cache_read_tokens + usage.cache_read_audio_tokens),
        ("cache_write_5m", usage.cache_write_5m_tokens + usage.cache_write_unsplit_tokens),
        ("cache_write_1h", usage.cache_write_1h_tokens),
        ("input_audio", usage.input_audio_tokens),
        ("input_image", usage.input_image_tokens),
        ("output", usage.output_tokens),
        ("output_audio", usage.output_audio_tokens),
        ("output_image", usage.output_image_tokens),
    )


class _Tally:
    """A histogram that is counted at a fifth of what the library's costs."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        # The last is for all that is longer.
        self.counts = [0] * (len(_ADDED_BUCKETS_S) + 1)
        self.sum_s = 0.0


class _Watched(Collector):
    """Reads what other parts count themselves, at the moment of a scrape."""

    def __init__(self) -> None:
        self.journals: dict[str, tuple[Callable[[], int], Callable[[], float]]] = {}
        self.events: Callable[[], SenderCounts] | None = None
        self.holds: Callable[[], OpenHolds] | None = None
        self.added = _Tally()

    @override
    def collect(self) -> Iterator[Metric]:
        yield from self._journals()
        yield from self._events()
        yield from self._holds()
        yield self._added()

    def _added(self) -> Metric:
        bounds = [*(str(float(bound)) for bound in _ADDED_BUCKETS_S), "+Inf"]
        buckets = list(zip(bounds, accumulate(self.added.counts), strict=True))
        description = names.METRICS[names.ADDED_LATENCY_S]
        return HistogramMetricFamily(
            names.ADDED_LATENCY_S, description, buckets=buckets, sum_value=self.added.sum_s
        )

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


def _counter(name: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(name.removesuffix(_TOTAL), names.METRICS[name], labels=labels)
