"""What a part of a program is given to count and to trace with."""

from __future__ import annotations

from dataclasses import dataclass, field

from matte_telemetry.meter import Meter, NoMeter
from matte_telemetry.tracing import NoTracer, Tracer


@dataclass(frozen=True, slots=True)
class Instruments:
    """A meter and a tracer; by default they do nothing."""

    meter: Meter = field(default_factory=NoMeter)
    tracer: Tracer = field(default_factory=NoTracer)
