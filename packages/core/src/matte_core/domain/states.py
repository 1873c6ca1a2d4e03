"""The legal moves of a job."""

from matte_core.contracts.job import JobState as S

#: from → to; a terminal state has no way out but dead → queued (requeue)
MOVES: dict[S, frozenset[S]] = {
    S.QUEUED: frozenset({S.RUNNING, S.CANCELED, S.EXPIRED}),
    S.RUNNING: frozenset({S.QUEUED, S.SUCCEEDED, S.FAILED, S.DEAD, S.CANCELED}),
    S.DEAD: frozenset({S.QUEUED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELED: frozenset(),
    S.EXPIRED: frozenset(),
}


def may_move(old: S, new: S) -> bool:
    """Whether a job may go from ``old`` to ``new``."""
    return new in MOVES[old]
