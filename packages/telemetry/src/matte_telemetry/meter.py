"""What a program counts with. Which library stands behind it is the program's choice."""

from __future__ import annotations

from typing import Protocol

from matte_telemetry.names import Metric


class Meter(Protocol):
    """Counts, sets and observes. Labels are given in the order of :attr:`Metric.labels`; nothing here raises for a
    value that was measured, and nothing waits.
    """

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """A counter goes up by ``by`` (≥ 0)."""
        ...

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        """A gauge has a value."""
        ...

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """A histogram gets a value."""
        ...


class NoMeter:
    """Counts nothing."""

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Nothing."""

    def set(self, metric: Metric, *labels: str, to: float) -> None:
        """Nothing."""

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Nothing."""
