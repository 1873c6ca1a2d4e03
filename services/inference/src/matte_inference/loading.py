"""In which order ``matte serve`` loads versions. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum


class State(StrEnum):
    DOWNLOADING = "downloading"
    HERE = "here"  # the weights are on this machine, or there are none
    LOADING = "loading"
    RUNNING = "running"
    FAILED = "failed"


def next_to_load(states: Mapping[str, State], first: Collection[str]) -> list[str]:
    """The applications to load now. Those in ``first`` have the machine to themselves until they run."""
    here = [app for app, state in states.items() if state is State.HERE]
    if any(states[app] in {State.HERE, State.LOADING} for app in first):
        return [app for app in here if app in first]
    return here
