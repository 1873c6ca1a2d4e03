"""What inference counts with: Ray's metrics, which every node of Ray exports for all its processes.

Ray puts ``ray_`` before the names, and the labels ``WorkerId``, ``SessionName`` and ``NodeAddress`` behind ours.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from matte_telemetry.names import Kind, Metric
from ray.util import metrics

VERSION = importlib.metadata.version("matte-inference")


class RayMeter:
    """A :class:`~matte_telemetry.instruments.Meter` by way of Ray. Metrics appear with their first value."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """A counter goes up."""
        if by > 0:  # Ray refuses 0
            self._of(metric).inc(by, _tags(metric, labels))

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        """A gauge has a value."""
        self._of(metric).set(to, _tags(metric, labels))

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """A histogram gets a value."""
        self._of(metric).observe(value, _tags(metric, labels))

    def _of(self, metric: Metric) -> Any:
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = _made(metric)
        return made


def _made(metric: Metric) -> Any:
    if metric.kind is Kind.HISTOGRAM:
        return metrics.Histogram(metric.name, metric.help, list(metric.buckets), metric.labels)
    if metric.kind is Kind.COUNTER:
        return metrics.Counter(metric.name, metric.help, metric.labels)
    return metrics.Gauge(metric.name, metric.help, metric.labels)


def _tags(metric: Metric, labels: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))
