"""What a metric is, and what a part of a program is given to record metrics and spans with.

Each program declares its own metrics, in ``matte_PROGRAM.metrics``. Names follow Prometheus' conventions: base units,
``_total`` for counters. Labels are few and bounded: models, versions, pools, problem codes, route templates; never a
tenant, an id or an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from opentelemetry.trace import Tracer

#: buckets in seconds: from a header's check to a job that waited for its whole permitted time
CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
#: buckets in seconds: from a small blob's fetch to a large network on a CPU
STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``buckets`` are a histogram's upper bounds, in the unit of the name."""

    type: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    prefix: str = ""

    @property
    def exported(self) -> str:
        """The name where it is scraped."""
        return self.prefix + self.name


class Meter(Protocol):
    """Records metrics: in a Prometheus registry, or by way of Ray. Labels are given in the order of
    :attr:`Metric.labels`; no call waits, or raises for a value that was measured.
    """

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Increments a counter by ``by`` (≥ 0)."""

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        """Sets a gauge."""

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Adds a value to a histogram."""


@dataclass(frozen=True, slots=True)
class Instruments:
    """A meter and a tracer."""

    meter: Meter
    tracer: Tracer
