"""What a part of a program is given to count and to trace with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from opentelemetry.trace import Tracer

from matte_telemetry.names import Metric


class Meter(Protocol):
    """Records metrics: in a Prometheus registry, or by way of Ray. Labels are given in the order of
    :attr:`Metric.labels`; no call waits, or raises for a value that was measured.
    """

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Increments a counter by ``by`` (≥ 0)."""
        ...

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        """Sets a gauge."""
        ...

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Adds a value to a histogram."""
        ...


@dataclass(frozen=True, slots=True)
class Instruments:
    """A meter and a tracer."""

    meter: Meter
    tracer: Tracer
