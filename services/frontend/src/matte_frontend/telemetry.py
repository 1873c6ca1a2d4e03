"""What a frontend counts and traces."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

from matte_core.errors import Problem
from matte_telemetry import names
from matte_telemetry.prometheus import PrometheusMeter
from opentelemetry.trace import NoOpTracer, Tracer


@dataclass(slots=True)
class Telemetry:
    """One frontend's meter and tracer."""

    meter: PrometheusMeter = field(default_factory=lambda: PrometheusMeter(names.FRONTEND))
    tracer: Tracer = field(default_factory=NoOpTracer)

    def refusing(self, model: str = "") -> Refusing:
        """Counts the problem that ends what is done within; '' while the model is not known."""
        return Refusing(self.meter, model)


class Refusing:
    """A context manager that counts a :class:`Problem` on its way."""

    __slots__ = ("_meter", "_model")

    def __init__(self, meter: PrometheusMeter, model: str) -> None:
        self._meter = meter
        self._model = model

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Problem):
            self._meter.add(names.JOBS_REFUSED, self._model, error.code)
