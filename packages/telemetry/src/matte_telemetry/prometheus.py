"""Metrics of a program that is scraped itself: the frontend and the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from matte_telemetry.metrics import Metric

#: samples of gauges: labels in their order, and the value
Samples = Mapping[Metric, Sequence[tuple[tuple[str, ...], float]]]
disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for every series, which nothing here reads


class PrometheusMeter:
    """A :class:`~matte_telemetry.metrics.Meter` on a registry of its own. Every metric is there from the start."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.registry = CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        self._children: dict[tuple[str, ...], Any] = {}
        classes: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        for metric in metrics:
            buckets = {"buckets": metric.buckets} if metric.type == "histogram" else {}
            self._metrics[metric.name] = classes[metric.type](
                metric.name, metric.help, metric.labels, registry=self.registry, **buckets
            )

    def _child(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        key = (metric.name, *labels)  # hashing a whole Metric would be slow
        child = self._children.get(key)
        if child is None:
            parent = self._metrics[metric.name]
            child = self._children[key] = parent.labels(*labels) if metric.labels else parent
        return child

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        self._child(metric, labels).inc(by)

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        self._child(metric, labels).set(to)

    def shift(self, metric: Metric, *labels: str, by: float) -> None:
        """Changes a gauge, up or down."""
        self._child(metric, labels).inc(by)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        self._child(metric, labels).observe(value)

    def remove(self, metric: Metric, *labels: str) -> None:
        """Removes all series whose first labels these are."""
        for key in [key for key in self._children if key[: len(labels) + 1] == (metric.name, *labels)]:
            del self._children[key]
            self._metrics[metric.name].remove(*key[1:])


class ScrapeCollector(Collector):
    """Gauges that are read at each scrape, in the server's thread. If ``read`` raises, ``on_error`` gets the error, and
    this scrape goes without them.
    """

    def __init__(
        self, metrics: Sequence[Metric], read: Callable[[], Samples], on_error: Callable[[Exception], None]
    ) -> None:
        self._metrics = metrics
        self._read = read
        self._on_error = on_error

    def describe(self) -> list[GaugeMetricFamily]:
        """The gauges without samples, so that registering them reads nothing."""
        return [GaugeMetricFamily(metric.name, metric.help, labels=metric.labels) for metric in self._metrics]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        try:
            samples = self._read()
        except Exception as error:  # a scrape must not fail over the store
            self._on_error(error)
            return []
        families = self.describe()
        for metric, family in zip(self._metrics, families, strict=True):
            for labels, value in samples.get(metric, ()):
                family.add_metric(labels, value)
        return families


class MetricsServer:
    """``/metrics`` on a port of its own, served by a thread until :meth:`close`."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server

    @classmethod
    def start(cls, registry: CollectorRegistry, *, host: str, port: int) -> MetricsServer:
        """Raises OSError where the port is taken."""
        server, _ = start_http_server(port, addr=host, registry=registry)
        return cls(server)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
