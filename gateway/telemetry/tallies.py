"""Counts in plain integers, which the metrics show: a request makes a dozen of them.

The library's counters take a lock for each, and forty times the CPU.
"""

from bisect import bisect_left
from itertools import accumulate

from gateway.domain.entry import Settlement
from gateway.domain.usage import Usage, UsageSource
from gateway.telemetry.outcome import outcome_of

_DURATION_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_FIRST_TOKEN_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)


class Histogram:
    """How often a time lay between two bounds, and the sum of all."""

    __slots__ = ("_bounds_s", "_counts", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        # The last is for all that is longer.
        self._counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self.sum_s += seconds

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Each upper bound as Prometheus writes it, and how many were no longer than that."""
        bounds = [*(str(float(bound_s)) for bound_s in self._bounds_s), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))


class CallTally:
    """What is counted of the requests of one provider and dialect that held money."""

    __slots__ = (
        "ceilings",
        "client_aborts",
        "cost_pico_usd",
        "duration_s",
        "estimates",
        "first_token_s",
        "requests",
        "tokens",
        "ttl_upgrades",
    )

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        """By outcome and the first digit of the status."""
        self.tokens: dict[str, int] = dict.fromkeys(TOKEN_TYPES, 0)
        self.cost_pico_usd = 0
        self.duration_s = Histogram(_DURATION_BUCKETS_S)
        self.first_token_s = Histogram(_FIRST_TOKEN_BUCKETS_S)
        self.estimates = 0
        self.ceilings = 0
        self.ttl_upgrades = 0
        self.client_aborts = 0

    def observe(self, settlement: Settlement) -> None:
        entry, generation = settlement.entry, settlement.generation
        kind = (outcome_of(settlement).value, entry.http_status // 100)
        self.requests[kind] = self.requests.get(kind, 0) + 1
        self._add_tokens(entry.usage)
        # A counter only rises: a negative amount, which no request has, is left out.
        self.cost_pico_usd += max(0, entry.amounts.total_pico_usd)
        self.duration_s.observe(generation.latency_s)
        if generation.time_to_first_token_s is not None:
            self.first_token_s.observe(generation.time_to_first_token_s)
        self.estimates += entry.usage_source is UsageSource.ESTIMATED
        self.ceilings += entry.is_ceiling
        self.ttl_upgrades += entry.cache_ttl_upgraded
        self.client_aborts += entry.client_aborted

    def _add_tokens(self, usage: Usage) -> None:
        """Disjoint counts: their sum is what the model read and wrote."""
        tokens = self.tokens
        tokens["input_uncached"] += max(0, usage.input_uncached_tokens)
        tokens["output"] += max(0, usage.output_tokens)
        read = usage.cache_read_tokens + usage.cache_read_audio_tokens
        if read > 0:
            tokens["cache_read"] += read
        written = usage.cache_write_5m_tokens + usage.cache_write_unsplit_tokens
        if written > 0:
            tokens["cache_write_5m"] += written
        if usage.cache_write_1h_tokens > 0:
            tokens["cache_write_1h"] += usage.cache_write_1h_tokens
        if usage.input_audio_tokens > 0:
            tokens["input_audio"] += usage.input_audio_tokens
        if usage.input_image_tokens > 0:
            tokens["input_image"] += usage.input_image_tokens
        self._add_made(usage)

    def _add_made(self, usage: Usage) -> None:
        """What was written and is no text."""
        tokens = self.tokens
        if usage.output_audio_tokens > 0:
            tokens["output_audio"] += usage.output_audio_tokens
        if usage.output_image_tokens > 0:
            tokens["output_image"] += usage.output_image_tokens
        if usage.output_video_tokens > 0:
            tokens["output_video"] += usage.output_video_tokens


TOKEN_TYPES = (
    *("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "input_audio"),
    *("input_image", "output", "output_audio", "output_image", "output_video"),
)
