"""Shows a rollout until it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from matte_core.contracts.k8s.rollout import Phase
from rich.console import Console, Group
from rich.live import Live

from matte_cli.messages import seconds
from matte_cli.rollout import view
from matte_cli.rollout.state import Rollout, RolloutError

#: between two requests
POLL_SECONDS = 2.0


class End(IntEnum):
    """Exit codes."""

    SUCCEEDED = 0
    FAILED = 1
    TIMEOUT = 2


@dataclass(frozen=True, slots=True)
class Watch:
    """How to poll a rollout. ``transient`` errors are retried; ``clock`` is monotonic, ``now`` is UTC."""

    get_rollout: Callable[[], Rollout]
    transient: type[RolloutError]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    sleep: Callable[[float], None]

    def follow(self, console: Console, timeout: float) -> End:
        """Shows the rollout until it ends, or for ``timeout`` seconds. Raises RolloutError if that can never be."""
        deadline, display = self.clock() + timeout, _Display(console, self.now)
        with display.live or nullcontext():
            while True:
                try:
                    rollout = self.get_rollout()
                except self.transient as error:
                    display.show_error(str(error))
                else:
                    if rollout.spec is None:
                        raise RolloutError(f"{rollout.model} has no spec.rollout: there is nothing to wait for")
                    display.update(rollout)
                    if rollout.over:
                        succeeded = rollout.status is not None and rollout.status.phase is Phase.SUCCEEDED
                        return End.SUCCEEDED if succeeded else End.FAILED
                left = deadline - self.clock()
                if left <= 0:
                    break
                self.sleep(min(POLL_SECONDS, left))
        console.print(f"[yellow]![/] not over after {seconds(timeout)}; it goes on without being watched")
        return End.TIMEOUT


class _Display:
    """A live view on a terminal, which stays at the end; elsewhere one line per change."""

    def __init__(self, console: Console, now: Callable[[], datetime]) -> None:
        self._console, self._now = console, now
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last: Rollout | None = None
        self._last_line = ""

    def update(self, rollout: Rollout) -> None:
        self._last = rollout
        if self.live:
            self.live.update(view.summary(rollout, self._now()), refresh=True)
        elif rollout.status is not None:
            self._print(view.line(rollout, rollout.status))

    def show_error(self, text: str) -> None:
        if self.live and self._last:
            self.live.update(Group(view.summary(self._last, self._now()), "", f"! {text}"), refresh=True)
        else:
            self._print(text)

    def _print(self, text: str) -> None:
        if text != self._last_line:
            self._console.print(text, markup=False)
            self._last_line = text
