"""The passes of an Anthropic model on Bedrock, held against AWS's metrics of the whole call."""

from collections.abc import Mapping, Sequence

from gateway.domain.usage import Usage, UsagePart
from gateway.wire.bedrock import Counts, has_metrics, with_metrics
from gateway.wire.counts import CountReader


def with_more(
    parts: tuple[UsagePart, ...],
    metrics: Mapping[str, object],
    ttls: Sequence[str],
    reader: CountReader,
) -> tuple[tuple[UsagePart, ...], Counts, Counts]:
    """The parts, with what the metrics have beyond them, and the counts of both.

    The metrics may be of the last pass alone, and then the passes are the larger reading; where
    they are larger in a count, the rest is the response's own.
    """
    told = _sum(parts)
    if not has_metrics(metrics):
        return parts, told, told
    billed = with_metrics(told, metrics, reader)
    more = Counts(
        input=max(billed.input - told.input, 0),
        output=max(billed.output - told.output, 0),
        cache_read=max(billed.cache_read - told.cache_read, 0),
        cache_write=max(billed.cache_write - told.cache_write, 0),
    )
    if any(more):
        parts = (*parts, UsagePart(model=None, usage=more.usage(ttls)))
    return parts, told, billed


def _sum(parts: Sequence[UsagePart]) -> Counts:
    total = Usage()
    for part in parts:
        total = total.plus(part.usage)
    return Counts(
        input=total.input_uncached_tokens,
        output=total.output_tokens,
        cache_read=total.cache_read_tokens,
        cache_write=total.cache_write_5m_tokens
        + total.cache_write_1h_tokens
        + total.cache_write_unsplit_tokens,
    )
