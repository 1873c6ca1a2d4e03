"""When a process that ended is started again: pure, so that no test waits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from matte_core.domain.backoff import exponential_backoff

#: a process that lived this long was well: its failures before are forgotten
WELL_AFTER_SECONDS = 60.0
#: after the second failure in a row; after the first one it starts at once
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
#: failures in a row, before everything was ready once, after which the fault is taken for a lasting one
GIVE_UP_AFTER = 4


@dataclass(frozen=True, slots=True)
class Restarts:
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do now: wait ``delay`` seconds and start it again, or (None) give up."""

    restarts: Restarts
    delay: float | None


def after_exit(restarts: Restarts, *, lived: float, was_ready: bool) -> Verdict:
    """What to do when a process ended by itself.

    Args:
        restarts: its history.
        lived: seconds it ran.
        was_ready: whether the whole service was ready once: from then on nothing is given up.
    """
    failures = 1 if lived >= WELL_AFTER_SECONDS else restarts.failures + 1
    following = replace(restarts, failures=failures)
    if not was_ready and failures >= GIVE_UP_AFTER:
        return Verdict(following, None)
    if failures == 1:
        return Verdict(following, 0.0)
    return Verdict(following, exponential_backoff(failures - 1, FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS))
