"""`/metrics`: the roles' counters in Prometheus' text form.

Owns: the mapping from `telemetry.names` to metric families; each carries the label `role`. Format: Prometheus
exposition, as `prometheus_client` writes it. Counters of a role begin at zero when it is started again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from waypost.telemetry.names import METRICS

PREFIX = "waypost_"
CONTENT_TYPE = CONTENT_TYPE_LATEST

Snapshots = Callable[[], Iterable[Mapping[str, Any]]]


class _Roles(Collector):
    def __init__(self, snapshots: Snapshots, now_ms: Callable[[], int]) -> None:
        self._snapshots = snapshots
        self._now_ms = now_ms

    def collect(self) -> Iterator[Metric]:
        snapshots = list(self._snapshots())
        age = GaugeMetricFamily(
            PREFIX + "snapshot_age_ms", "milliseconds since the role published its counters", labels=["role"]
        )
        for snapshot in snapshots:
            age.add_metric([snapshot["role"]], max(0, self._now_ms() - int(snapshot.get("at_ms", 0))))
        yield age
        for metric in METRICS:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(PREFIX + metric.name, metric.meaning, labels=["role"])
            for snapshot in snapshots:
                value = snapshot.get("values", {}).get(metric.name)
                if value is not None:
                    family.add_metric([snapshot["role"]], value)
            yield family


class MetricsText:
    """Call it for the page's bytes."""

    def __init__(self, snapshots: Snapshots, now_ms: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Roles(snapshots, now_ms))

    def __call__(self) -> bytes:
        return generate_latest(self._registry)
