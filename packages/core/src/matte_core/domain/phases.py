"""The phases of a rollout: which transitions are legal, and how long a phase has lasted."""

from __future__ import annotations

from datetime import datetime

from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.rollout import TEXT_MAX, Cause, Phase, RolloutStatus

TRANSITIONS: dict[Phase, frozenset[Phase]] = {
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
#: the new version passed the golden images and may receive traffic
SERVING = frozenset({Phase.STEPPING, Phase.PAUSED, Phase.PROMOTING})
#: the new version's replicas should run, so a failure of theirs ends the rollout
RUNNING = frozenset({Phase.STARTING, Phase.WARMING, Phase.GOLDEN}) | SERVING
#: all traffic belongs to the stable version
ROLLBACK = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED})
#: causes of a rollback that a person asked for: not a failure
INTENDED = frozenset({Cause.ABORTED, Cause.REVERTED, Cause.SUPERSEDED})


class IllegalTransitionError(ValueError):
    """A rollout cannot go from the one phase to the other."""


def transition(
    status: RolloutStatus, to: Phase, now: datetime, cause: Cause = Cause.NONE, message: str = ""
) -> RolloutStatus:
    """The status in the phase ``to``, which begins at ``now`` (UTC); IllegalTransitionError if it is not allowed."""
    if to not in TRANSITIONS[status.phase]:
        raise IllegalTransitionError(f"a rollout cannot go from {status.phase} to {to}")
    return status.model_copy(
        update={"phase": to, "cause": cause, "message": message[:TEXT_MAX], "phase_started_at": format_time(now)}
    )


def elapsed_seconds(since: str | None, now: datetime) -> float:
    """Seconds since a time of the status; 0 where there is none, or it lies in the future."""
    return max(0.0, (now - datetime.fromisoformat(since)).total_seconds()) if since else 0.0


def seconds_without_progress(status: RolloutStatus, now: datetime) -> float:
    """Seconds since the phase began, or since the weight last came closer to the phase's target."""
    times = [since for since in (status.phase_started_at, status.progressed_at) if since]
    return min((elapsed_seconds(since, now) for since in times), default=0.0)
