"""Bad versions, tried one after the other, and what became of each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from e2e.bad import STABLE, Bad, Track
from e2e.drives import driving
from e2e.kube import Kube, until
from e2e.watch import Watch

_TERMINAL = frozenset({"Succeeded", "RolledBack", "Failed"})
READY_SECONDS, VERDICT_SECONDS = 240, 240
#: tracks
AT_ONCE = 3


@dataclass
class Outcome:
    """What became of a bad version.

    Attributes:
        status: of the rollout, at its end.
        events: what was recorded about the Model meanwhile.
        ready: the Model's condition all the while.
        weights: those that routers gave the version, one after the other.
        back: seconds from the decision to no traffic in any router; 0 where it had none.
    """

    version: str
    status: dict[str, Any]
    events: str
    ready: set[str]
    weights: list[int]
    seconds: float
    back: float


@dataclass
class Tried:
    """A track's story: outcomes by the versions' names, and its traffic."""

    track: Track
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    problem: BaseException | None = None


def try_all(kube: Kube, url: str, watch: Watch, tracks: Sequence[Track]) -> list[Tried]:
    """All tracks, some side by side: each new version starts processes, and two cores are soon too few for them."""
    stories = [Tried(track) for track in tracks]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda story: _lane(kube, url, watch, story), stories))
    return stories


def _lane(kube: Kube, url: str, watch: Watch, story: Tried) -> None:
    track = story.track
    try:
        kube.apply(track.spec(STABLE))
        kube.wait(f"model/{track.model}", "condition=Ready", READY_SECONDS)
        kube.wait(f"model/{track.model}", "jsonpath={.status.rollout.phase}=Succeeded", READY_SECONDS)
        with driving(url, track.model, "--rate", f"{track.rate}/s", "--duration", "20m") as driven:
            for number, bad in enumerate(track.bad, start=1):
                story.outcomes[bad.name] = _try(kube, watch, track, bad, f"1.{number}.0")
        story.failures, story.answered = driven.failures(), driven.report["answered"]
    except BaseException as problem:  # the track's tests report it
        story.problem = problem


def _try(kube: Kube, watch: Watch, track: Track, bad: Bad, version: str) -> Outcome:
    model, began = f"model/{track.model}", time.time()
    kube.apply(track.spec(version, bad.change, **bad.limits))

    def ended() -> bool:
        moments = [m for m in watch.of(track.model, began) if m.canary == version]
        return bool(moments) and moments[-1].phase in _TERMINAL

    until(ended, VERDICT_SECONDS, f"the end of {track.model} {version}, {bad.name}")
    seconds = time.time() - began
    until(lambda: bad.phase in kube("get", "events", "-o", _events(track.model)), 10, "an Event")
    return Outcome(
        version=version,
        status=kube.get(model)["status"]["rollout"],
        events=kube("get", "events", "-o", _events(track.model)),
        ready={moment.ready for moment in watch.of(track.model, began)},
        weights=watch.weights(track.model, version),
        seconds=seconds,
        back=_back(kube, watch, track.model, version),
    )


def _events(model: str) -> str:
    return (
        f'jsonpath={{range .items[?(@.involvedObject.name=="{model}")]}}{{.type}} {{.reason}}: {{.message}}{{"\\n"}}'
        "{end}"
    )


def _back(kube: Kube, watch: Watch, model: str, version: str) -> float:
    """Seconds from the decision, as the operator logged it, to no traffic in any router."""
    if not watch.highest(model, version):
        return 0.0
    moves = (line for line in _logged(kube) if line.get("event") == "RollingBack")
    event = next(line for line in moves if _about(line, model, version))
    gone = watch.when(model, version, 0, since=watch.used[model, version][0].at)
    return gone - datetime.fromisoformat(event["at"]).timestamp()


def _logged(kube: Kube) -> Iterator[dict[str, Any]]:
    for line in kube("logs", "deployment/matte-operator", "--tail=-1").splitlines():
        yield json.loads(line)


def _about(line: dict[str, Any], model: str, version: str) -> bool:
    return line["object"] == f"Model/{model}" and f" {version} " in line["message"]
