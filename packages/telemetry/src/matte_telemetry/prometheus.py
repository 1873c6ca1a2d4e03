"""Metrics of a program that is scraped itself: the frontend and the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from matte_telemetry.names import CONDITION, Kind, Metric

#: samples of a gauge: labels in their order, and the value
Samples = Mapping[Metric, Sequence[tuple[tuple[str, ...], float]]]
disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for every series, which nothing here reads
_STATUSES = ("True", "False", "Unknown")


class PrometheusMeter:
    """A :class:`~matte_telemetry.instruments.Meter` on a registry of its own. Every metric is there from the start."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.registry = CollectorRegistry()
        self._metrics: dict[Metric, Any] = {metric: self._made(metric) for metric in metrics}
        self._children: dict[tuple[Any, ...], Any] = {}

    def _made(self, metric: Metric) -> Counter | Gauge | Histogram:
        if metric.kind is Kind.HISTOGRAM:
            return Histogram(
                metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self.registry
            )  # fmt: skip
        made = Counter if metric.kind is Kind.COUNTER else Gauge
        return made(metric.name, metric.help, metric.labels, registry=self.registry)

    def _child(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        key = (metric.name, *labels)  # looked up by name: hashing a whole Metric is dear
        child = self._children.get(key)
        if child is None:
            parent = self._metrics[metric]
            child = self._children[key] = parent.labels(*labels) if metric.labels else parent
        return child

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """A counter goes up."""
        self._child(metric, labels).inc(by)

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        """A gauge has a value."""
        self._child(metric, labels).set(to)

    def shift(self, metric: Metric, *labels: str, by: float) -> None:
        """A gauge goes up or down."""
        self._child(metric, labels).inc(by)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """A histogram gets a value."""
        self._child(metric, labels).observe(value)

    def set_condition(self, kind: str, name: str, condition: str, status: str) -> None:
        """An object's condition (``Ready``) has a status (``True``, ``False`` or ``Unknown``)."""
        for each in _STATUSES:
            self.set(CONDITION, kind, name, condition, each, to=float(each == status))

    def forget(self, kind: str, name: str) -> None:
        """An object is gone: so are the samples of its conditions."""
        gone = [key for key in self._children if key[:3] == (CONDITION.name, kind, name)]
        for key in gone:
            del self._children[key]
            self._metrics[CONDITION].remove(*key[1:])


class Seen(Collector):
    """Gauges that are read when somebody scrapes.

    Args:
        metrics: the gauges.
        read: their samples; called in the server's thread. What it raises leaves them out of this scrape.
        failed: told what it raised.
    """

    def __init__(
        self, metrics: Sequence[Metric], read: Callable[[], Samples], failed: Callable[[Exception], None]
    ) -> None:
        self._metrics = metrics
        self._read = read
        self._failed = failed

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Without samples, so that registering reads nothing."""
        return [GaugeMetricFamily(metric.name, metric.help, labels=metric.labels) for metric in self._metrics]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """As it is now."""
        try:
            samples = self._read()
        except Exception as error:  # a scrape must not fail over the store
            self._failed(error)
            return []
        families = []
        for metric in self._metrics:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in samples.get(metric, ()):
                family.add_metric(labels, value)
            families.append(family)
        return families


class MetricsServer:
    """``/metrics`` on a port of its own, served by a thread; end it with :meth:`close`."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server

    @classmethod
    def start(cls, registry: CollectorRegistry, *, host: str, port: int) -> MetricsServer:
        """Listens.

        Raises:
            OSError: the port is taken.
        """
        server, _ = start_http_server(port, addr=host, registry=registry)
        return cls(server)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stops."""
        self._server.shutdown()
        self._server.server_close()
