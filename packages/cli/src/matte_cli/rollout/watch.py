"""Waits for the end of a rollout and shows it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from matte_core.contracts.k8s.rollout import Phase
from rich.console import Console, Group
from rich.live import Live

from matte_cli.messages import seconds
from matte_cli.rollout import view
from matte_cli.rollout.state import Rollout, RolloutError

#: between two looks
POLL_SECONDS = 2.0


class End(IntEnum):
    """What the command ends with."""

    SUCCEEDED = 0
    FAILED = 1
    TIMEOUT = 2


@dataclass(frozen=True, slots=True)
class Watch:
    """How to look. ``away`` are errors after which looking again helps; ``clock`` is monotonic, ``now`` is UTC."""

    look: Callable[[], Rollout]
    away: type[RolloutError]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    sleep: Callable[[float], None]

    def follow(self, console: Console, timeout: float) -> End:
        """Looks until it is over, or for ``timeout`` seconds.

        Raises:
            RolloutError: what looking again does not mend; also that there is no rollout to wait for.
        """
        until, show = self.clock() + timeout, _Shown(console, self.now)
        with show:
            while True:
                try:
                    rollout = self.look()
                except self.away as error:
                    show.trouble(str(error))
                else:
                    if rollout.spec is None:
                        raise RolloutError(f"{rollout.model} has no spec.rollout: there is nothing to wait for")
                    show.update(rollout)
                    if rollout.over:
                        return _end(rollout)
                left = until - self.clock()
                if left <= 0:
                    break
                self.sleep(min(POLL_SECONDS, left))
        console.print(f"[yellow]![/] not over after {seconds(timeout)}; it goes on without being watched")
        return End.TIMEOUT


def _end(rollout: Rollout) -> End:
    succeeded = rollout.status is not None and rollout.status.phase is Phase.SUCCEEDED
    return End.SUCCEEDED if succeeded else End.FAILED


class _Shown:
    """A picture that changes on a terminal, and stays at the end; elsewhere a line per change."""

    def __init__(self, console: Console, now: Callable[[], datetime]) -> None:
        self._console = console
        self._now = now
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last: Rollout | None = None
        self._said = ""

    def __enter__(self) -> None:
        if self._live:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, rollout: Rollout) -> None:
        self._last = rollout
        if self._live:
            self._live.update(view.summary(rollout, self._now()), refresh=True)
        elif rollout.status is not None:
            self._say(view.line(rollout, rollout.status))

    def trouble(self, text: str) -> None:
        if self._live and self._last:
            self._live.update(Group(view.summary(self._last, self._now()), "", f"! {text}"), refresh=True)
        else:
            self._say(text)

    def _say(self, text: str) -> None:
        if text != self._said:
            self._console.print(text, markup=False)
            self._said = text
