"""One Prometheus exposition out of several workers': samples add up, ages take the largest."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from typing_extensions import override

from gateway.telemetry import names

_LARGEST = frozenset({names.JOURNAL_AGE_S})
_CREATED = "_created"

_Key = tuple[str, tuple[tuple[str, str], ...]]


def merged(expositions: Iterable[str]) -> tuple[bytes, str]:
    """The exposition of all workers together, and its content type."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[_Key, float]] = {}
    for exposition in expositions:
        for family in text_string_to_metric_families(exposition):
            families.setdefault(family.name, family)
            _add(family, values.setdefault(family.name, {}))
    registry = CollectorRegistry()
    registry.register(_Merged(families, values))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _add(family: Metric, values: dict[_Key, float]) -> None:
    for sample in family.samples:
        if sample.name.endswith(_CREATED):
            continue
        key = (sample.name, tuple(sample.labels.items()))
        known = values.get(key)
        if known is None:
            values[key] = sample.value
        elif family.name in _LARGEST:
            values[key] = max(known, sample.value)
        else:
            values[key] = known + sample.value


class _Merged(Collector):
    """Families as they were parsed, with the values of all."""

    def __init__(self, families: dict[str, Metric], values: dict[str, dict[_Key, float]]) -> None:
        self._families = families
        self._values = values

    @override
    def collect(self) -> Iterable[Metric]:
        for name, family in self._families.items():
            whole = Metric(family.name, family.documentation, family.type)
            whole.samples = [
                Sample(sample, dict(labels), value)
                for (sample, labels), value in self._values[name].items()
            ]
            yield whole
