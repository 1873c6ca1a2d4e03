"""What is struck, how and when: pure, so that the order of a drill can be tested and repeated by its seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of process.

    Attributes:
        words: one of them is in its command line.
        restarted: whether somebody has to start it again after its death.
        heavy: its death may take the whole of inference, or every job's way, with it.
    """

    name: str
    words: tuple[str, ...]
    restarted: bool = True
    heavy: bool = True


KINDS = (
    Kind("frontend", ("-m matte_frontend",), heavy=False),
    Kind("router", ("ServeReplica:router",), heavy=False),
    Kind("replica", (":ModelVersion",), heavy=False),
    Kind("controller", ("ray::ServeController",)),
    Kind("redis", ("redis-server", "valkey-server")),
    Kind("inference", ("-m matte_inference",)),
    Kind("raylet", ("/raylet/raylet",)),
    Kind("gcs", ("/gcs/gcs_server",)),
    Kind("ray-agent", ("ray::DashboardAgent", "ray::RuntimeEnvAgent")),
    Kind("ray-helper", ("/dashboard/dashboard.py", "/log_monitor.py", "/_private/monitor.py"), restarted=False),
    Kind("serve", ("matte serve", "matte_cli serve")),
)
BY_NAME = {kind.name: kind for kind in KINDS}

#: what passes between two faults of the random part, seconds
GAPS = (2.0, 8.0)
#: shares of the random part's faults that stop a process instead of killing it, and for how long, seconds
STOPS, STOP_SECONDS = 0.3, (1.0, 20.0)
#: a second heavy fault waits until an answer shows that the server is back, but not for ever, seconds
HEAVY_PATIENCE = 90.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One process of a kind is killed, or stopped for so many seconds."""

    kind: Kind
    stop_seconds: float | None = None

    @property
    def signal(self) -> str:
        """As the report has it."""
        return "SIGKILL" if self.stop_seconds is None else f"SIGSTOP {self.stop_seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class Options:
    """What a drill does.

    Attributes:
        jobs: sent in the first part, an equal share around each fault.
        seconds: how long the random part lasts.
        stop_seconds: how long a process is stopped in the first part; 0: killed only.
        patience: seconds until a fault counts as not recovered from, and an open job as stuck.
        quick: short leases, for a drill that has to be short.
    """

    jobs: int = 500
    seconds: float = 300.0
    kinds: tuple[Kind, ...] = KINDS
    seed: int = 1
    stop_seconds: float = 20.0
    patience: float = 180.0
    quick: bool = False


def in_turn(kinds: Sequence[Kind], stop_seconds: float) -> list[Fault]:
    """Each kind killed, then stopped."""
    ways = (None, stop_seconds) if stop_seconds else (None,)
    return [Fault(kind, way) for kind in kinds for way in ways]


def at_random(draw: random.Random, kinds: Sequence[Kind], stop_seconds: float) -> Iterator[tuple[float, Fault]]:
    """Faults without end: seconds after the one before, and which; none is stopped longer than ``stop_seconds``."""
    while True:
        gap, kind = draw.uniform(*GAPS), draw.choice(kinds)
        stopped = stop_seconds > 0 and draw.random() < STOPS
        yield gap, Fault(kind, min(stop_seconds, draw.uniform(*STOP_SECONDS)) if stopped else None)


def may_strike(fault: Fault, *, now: float, heavy_at: float | None, answered: float | None) -> bool:
    """Whether a fault leaves the server a chance.

    Args:
        fault: the next one.
        now: seconds, of the clock of the other two.
        heavy_at: when the last heavy fault was; None: there was none.
        answered: when the youngest probe that has its answer was sent.
    """
    if not fault.kind.heavy or heavy_at is None:
        return True
    return (answered is not None and answered > heavy_at) or now - heavy_at > HEAVY_PATIENCE


def shares(jobs: int, parts: int) -> list[int]:
    """``jobs`` divided into parts that differ by one at most."""
    return [jobs // parts + (part < jobs % parts) for part in range(parts)]
