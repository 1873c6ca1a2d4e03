"""The sequence of faults: pure functions, so that it can be tested, and repeated by its seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessKind:
    """A kind of process, whose command line contains one of the patterns.

    ``restarted``: whether it is started again after its death; ``heavy``: its death may take down inference, or the
    queue.
    """

    name: str
    command_patterns: tuple[str, ...]
    restarted: bool = True
    heavy: bool = True


KINDS = (
    ProcessKind("frontend", ("-m matte_frontend",), heavy=False),
    ProcessKind("router", ("ServeReplica:router",), heavy=False),
    ProcessKind("replica", (":ModelVersion",), heavy=False),
    ProcessKind("controller", ("ray::ServeController",)),
    ProcessKind("redis", ("redis-server", "valkey-server")),
    ProcessKind("inference", ("-m matte_inference",)),
    ProcessKind("raylet", ("/raylet/raylet",)),
    ProcessKind("gcs", ("/gcs/gcs_server",)),
    ProcessKind("ray-agent", ("ray::DashboardAgent", "ray::RuntimeEnvAgent")),
    ProcessKind("ray-helper", ("/dashboard/dashboard.py", "/log_monitor.py", "/_private/monitor.py"), restarted=False),
    ProcessKind("serve", ("matte serve", "matte_cli serve")),
)
BY_NAME = {kind.name: kind for kind in KINDS}

#: seconds between two faults of the random part
GAPS = (2.0, 8.0)
#: share of random faults that stop a process instead of killing it, and for how many seconds
STOP_SHARE, STOP_SECONDS = 0.3, (1.0, 20.0)
#: maximum seconds that a heavy fault waits for an answer after the previous one
HEAVY_PATIENCE = 90.0


@dataclass(frozen=True, slots=True)
class Fault:
    """SIGKILL, or SIGSTOP for ``stop_seconds``."""

    kind: ProcessKind
    stop_seconds: float | None = None

    @property
    def signal(self) -> str:
        return "SIGKILL" if self.stop_seconds is None else f"SIGSTOP {self.stop_seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a drill."""

    jobs: int = 500  # of the systematic part, distributed over its faults
    seconds: float = 300.0  # duration of the random part
    kinds: tuple[ProcessKind, ...] = KINDS
    seed: int = 1
    stop_seconds: float = 20.0  # duration of each stop in the systematic part; 0: kills only
    patience: float = 180.0  # seconds until a fault counts as not recovered from, and an open job as stuck
    quick: bool = False  # short leases


def systematic_faults(kinds: Sequence[ProcessKind], stop_seconds: float) -> list[Fault]:
    ways = (None, stop_seconds) if stop_seconds else (None,)
    return [Fault(kind, way) for kind in kinds for way in ways]


def random_faults(
    draw: random.Random, kinds: Sequence[ProcessKind], stop_seconds: float
) -> Iterator[tuple[float, Fault]]:
    """Endless (seconds since the previous fault, fault); no process is stopped longer than ``stop_seconds``."""
    while True:
        gap, kind = draw.uniform(*GAPS), draw.choice(kinds)
        stopped = stop_seconds > 0 and draw.random() < STOP_SHARE
        yield gap, Fault(kind, min(stop_seconds, draw.uniform(*STOP_SECONDS)) if stopped else None)


def may_inject(fault: Fault, *, now: float, heavy_at: float | None, answered: float | None) -> bool:
    """Whether the server has had a chance to recover from the last heavy fault, at ``heavy_at``, before the next one.

    ``answered``: when the latest answered probe was sent.
    """
    if not fault.kind.heavy or heavy_at is None:
        return True
    return (answered is not None and answered > heavy_at) or now - heavy_at > HEAVY_PATIENCE


def split_evenly(jobs: int, parts: int) -> list[int]:
    return [jobs // parts + (part < jobs % parts) for part in range(parts)]
