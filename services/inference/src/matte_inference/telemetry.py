"""Metrics by way of Ray, which every node exports for all its processes.

Ray puts ``ray_`` before the names, and adds the labels ``WorkerId``, ``SessionName`` and ``NodeAddress``.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from matte_telemetry.metrics import Metric
from ray.util import metrics

VERSION = importlib.metadata.version("matte-inference")


class RayMeter:
    """A :class:`~matte_telemetry.metrics.Meter` by way of Ray. Metrics appear with their first value."""

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        if by > 0:  # Ray refuses 0
            self._ray_metric(metric).inc(by, dict(zip(metric.labels, labels, strict=True)))

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        self._ray_metric(metric).set(to, dict(zip(metric.labels, labels, strict=True)))

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        self._ray_metric(metric).observe(value, dict(zip(metric.labels, labels, strict=True)))

    def _ray_metric(self, metric: Metric) -> Any:
        if metric.name not in self._metrics:
            if metric.type == "histogram":
                made = metrics.Histogram(metric.name, metric.help, list(metric.buckets), metric.labels)
            else:
                kind = metrics.Counter if metric.type == "counter" else metrics.Gauge
                made = kind(metric.name, metric.help, metric.labels)
            self._metrics[metric.name] = made
        return self._metrics[metric.name]
