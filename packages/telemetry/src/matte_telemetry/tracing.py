"""Traces that follow a job through every process.

A context is a W3C ``traceparent`` and is passed on by hand: a job's spans are made in several processes and long apart,
so nothing would be gained by a context that follows a thread. Without ``OTEL_EXPORTER_OTLP_ENDPOINT`` no SDK is
imported, nothing is made, and a span only carries its parent's context on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

from matte_telemetry.settings import TracingSettings

Attributes = Mapping[str, str | int | float | bool]


class SpanKind(Enum):
    """OpenTelemetry's kinds; the values are those of its API."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Span(Protocol):
    """Something that takes time. One that is never ended is never told. Times are Unix seconds."""

    @property
    def traceparent(self) -> str | None:
        """The context of what happens in it; None only where there are no traces and no parent."""
        ...

    @property
    def recording(self) -> bool:
        """Whether details would be kept: ask before they are put together."""
        ...

    def rename(self, name: str) -> None:
        """A better name."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Details."""
        ...

    def event(self, name: str, at: float, attributes: Attributes | None = None) -> None:
        """Something that happened in it."""
        ...

    def end(self, at: float, *, error: str = "") -> None:
        """It is over; ``error`` says by what kind of failure."""
        ...


class Tracer(Protocol):
    """Makes spans. Nothing here raises or waits, except :meth:`close`."""

    def start(
        self,
        name: str,
        *,
        at: float,
        parent: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        links: Sequence[str] = (),
    ) -> Span:
        """A span.

        Args:
            name: few different ones: no ids.
            at: when it began, Unix seconds.
            parent: a traceparent; None, or a broken one, begins a new trace.
            kind: its place between processes.
            attributes: details.
            links: traceparents of other spans that have to do with it.
        """
        ...

    def close(self) -> None:
        """Sends what is left, for a few seconds at most."""
        ...


class NoSpan:
    """Carries its parent's context on."""

    __slots__ = ("traceparent",)
    recording = False

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def rename(self, name: str) -> None:
        """Nothing."""

    def set(self, attributes: Attributes) -> None:
        """Nothing."""

    def event(self, name: str, at: float, attributes: Attributes | None = None) -> None:
        """Nothing."""

    def end(self, at: float, *, error: str = "") -> None:
        """Nothing."""


class NoTracer:
    """Makes nothing."""

    def start(  # noqa: PLR6301, RUF100
        self,
        name: str,  # noqa: ARG002
        *,
        at: float,  # noqa: ARG002
        parent: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,  # noqa: ARG002
        attributes: Attributes | None = None,  # noqa: ARG002
        links: Sequence[str] = (),  # noqa: ARG002
    ) -> Span:
        """A span that carries ``parent`` on."""
        return NoSpan(parent)

    def close(self) -> None:
        """Nothing."""


def set_up(service_name: str, *, version: str, instance: str) -> Tracer:
    """The tracer of a program, as the standard ``OTEL_…`` variables say.

    Args:
        service_name: ``service.name``, unless ``OTEL_SERVICE_NAME`` says another.
        version: ``service.version``.
        instance: ``service.instance.id``, different for every process.
    """
    if not TracingSettings().on:
        return NoTracer()
    from matte_telemetry.otlp import OtlpTracer  # noqa: PLC0415 - the SDK is imported only where it is used

    return OtlpTracer.open(service_name, version=version, instance=instance)
