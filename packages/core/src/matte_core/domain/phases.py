"""The legal moves of a rollout."""

from __future__ import annotations

from datetime import datetime

from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.rollout import TEXT_MAX, Cause, Phase, RolloutStatus

#: from → to
MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset({Phase.VERIFYING, Phase.ROLLING_BACK}),
    Phase.VERIFYING: frozenset({Phase.STARTING, Phase.ROLLING_BACK}),
    Phase.STARTING: frozenset({Phase.WARMING, Phase.ROLLING_BACK}),
    Phase.WARMING: frozenset({Phase.GOLDEN, Phase.ROLLING_BACK}),
    # straight to Promoting: a model's first version, or the way back to the one before
    Phase.GOLDEN: frozenset({Phase.STEPPING, Phase.PROMOTING, Phase.ROLLING_BACK}),
    Phase.STEPPING: frozenset({Phase.PAUSED, Phase.PROMOTING, Phase.ROLLING_BACK}),
    Phase.PAUSED: frozenset({Phase.STEPPING, Phase.PROMOTING, Phase.ROLLING_BACK}),
    Phase.PROMOTING: frozenset({Phase.SUCCEEDED, Phase.ROLLING_BACK}),
    Phase.ROLLING_BACK: frozenset({Phase.ROLLED_BACK, Phase.FAILED}),
    Phase.SUCCEEDED: frozenset({Phase.PENDING}),
    Phase.ROLLED_BACK: frozenset({Phase.PENDING}),
    Phase.FAILED: frozenset({Phase.PENDING}),
}
#: nothing happens any more until the spec changes
TERMINAL = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.FAILED})
#: the new version has answered the golden images: it may have traffic
SERVING = frozenset({Phase.STEPPING, Phase.PAUSED, Phase.PROMOTING})
#: the new version's processes are wanted, so their trouble counts
RUNNING = frozenset({Phase.STARTING, Phase.WARMING, Phase.GOLDEN}) | SERVING
#: the traffic belongs to stable
RETREAT = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED})
#: somebody asked for the way back: no failure
CHOSEN = frozenset({Cause.ABORTED, Cause.REVERTED, Cause.SUPERSEDED})


class IllegalMoveError(ValueError):
    """A rollout cannot go from the one phase to the other."""


def move(
    status: RolloutStatus, to: Phase, now: datetime, cause: Cause = Cause.NONE, message: str = ""
) -> RolloutStatus:
    """The status in its next phase; ``now`` is in UTC.

    Raises:
        IllegalMoveError: there is no such move.
    """
    if to not in MOVES[status.phase]:
        raise IllegalMoveError(f"a rollout cannot go from {status.phase} to {to}")
    return status.model_copy(
        update={"phase": to, "cause": cause, "message": message[:TEXT_MAX], "phase_started_at": format_time(now)}
    )


def elapsed(since: str | None, now: datetime) -> float:
    """Seconds since a time of the status; 0 where there is none, or a clock went back."""
    return max(0.0, (now - datetime.fromisoformat(since)).total_seconds()) if since else 0.0


def stalled(status: RolloutStatus, now: datetime) -> float:
    """Seconds since the phase began, or since the weight last came nearer to where the phase takes it."""
    times = [since for since in (status.phase_started_at, status.progressed_at) if since]
    return min((elapsed(since, now) for since in times), default=0.0)
