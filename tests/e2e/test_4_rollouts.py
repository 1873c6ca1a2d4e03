"""A good version reaches everyone by itself; ten bad ones go back by themselves. Nobody who uses them is hurt."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from e2e import objects
from e2e.bad import STABLE, TRACKS, Bad, Track
from e2e.drives import driving
from e2e.kube import Kube, until
from e2e.phases import Phase, Phases
from e2e.tracks import Outcome, Tried, try_all
from e2e.traffic import picture, wrong
from e2e.watch import Watch, watching

pytestmark = [pytest.mark.e2e, pytest.mark.rollouts, pytest.mark.timeout(900)]

#: a decision to go back is in every router by then
BACK_SECONDS = 2.0
STEPS = (20, 50)
GOOD = {
    "steps": [{"weight": weight, "durationSeconds": 5, "minSamples": 60} for weight in STEPS],
    "analysis": {
        "intervalSeconds": 5,
        "minSamples": 30,
        "inconclusiveLimit": 60,
        # as sure as a hundred answers can make it, on two cores that others use as well
        "errorRate": {"maxIncrease": 0.05},
        "badMasks": {"maxIncrease": 0.05},
        "latency": {"maxRatio": 3, "slackSeconds": 0.5},
        "agreement": {"mirrorPercent": 30},
    },
    "limits": {"confirmSeconds": 5},
}


@pytest.fixture(scope="module")
def watch(release: str, kube: Kube) -> Iterator[Watch]:
    assert release
    with watching(kube) as seen:
        yield seen


def test_a_good_version_takes_over_by_itself(release: str, kube: Kube, watch: Watch, phases: Phases) -> None:
    def good(version: str) -> objects.Object:
        return objects.resource("Model", "good", **objects.main(version, rollout=GOOD))

    with phases("a Model with a rollout Ready"):
        kube.apply(good("1.0.0"))
        kube.wait("model/good", "condition=Ready", 120)
        kube.wait("model/good", "jsonpath={.status.rollout.phase}=Succeeded", 60)
    with phases("a good version from the edit to all traffic") as phase:
        with driving(release, "good", "--rate", "16/s", "--duration", "10m") as driven:
            began = time.time()
            kube.apply(good("1.1.0"))
            until(lambda: "Succeeded" in _phases(watch, "good", "1.1.0"), 300, "the promotion")
        phase.notes.append(driven.summary())
    assert driven.failures() == []
    assert [weight for weight in watch.weights("good", "1.1.0") if weight] == [*STEPS, 100]
    assert {latency["version"] for latency in driven.report["latencies"]} == {"1.0.0", "1.1.0"}
    assert {moment.ready for moment in watch.of("good", began)} == {"True"}
    status = kube.get("model/good")["status"]
    assert {target["version"]: target["weight"] for target in status["traffic"] if target["weight"]} == {"1.1.0": 100}
    assert status["rollout"]["checks"][-1]["verdict"] == "pass"


def _phases(watch: Watch, model: str, stable: str) -> set[str]:
    """Those in which a version was stable."""
    return {moment.phase for moment in watch.of(model) if moment.stable == stable}


@pytest.fixture(scope="module")
def tried(release: str, kube: Kube, watch: Watch, phases: Phases) -> Iterator[dict[str, Tried]]:
    """All of them, on five Models, with traffic."""
    kube.apply(*objects.elsewhere("glutton", memory="450Mi"))
    kube("rollout", "status", "deployment/glutton", "--timeout=120s")
    kube(
        "patch",
        "pool",
        "default",
        "--type=merge",
        "--patch",
        f'{{"spec": {{"allowedLicenses": ["{objects.LICENSE}"]}}}}',
    )
    try:
        with phases("ten bad versions, with traffic") as phase:
            stories = try_all(kube, release, watch, TRACKS)
        answered, failed = sum(s.answered for s in stories), sum(len(s.failures) for s in stories)
        phase.notes.append(f"{answered} requests, {failed} failed")
        phases.all += [_phase(name, outcome) for story in stories for name, outcome in story.outcomes.items()]
        yield {story.track.model: story for story in stories}
    finally:
        kube("patch", "pool", "default", "--type=merge", "--patch", '{"spec": {"allowedLicenses": null}}')
        for track in TRACKS:
            kube("delete", "model", track.model, "--ignore-not-found", "--wait=false")
        for thing in objects.elsewhere("glutton"):
            kube("delete", thing["kind"].lower(), "glutton", "--ignore-not-found", "--wait=false")


def _phase(name: str, outcome: Outcome) -> Phase:
    """For the table."""
    notes = [f"{outcome.status['cause']}, at most {max(outcome.weights, default=0)} % of the traffic"]
    if outcome.back:
        notes.append(f"0 % {outcome.back:.2f} s after the decision")
    return Phase(f"  {name}, beside the others", outcome.seconds, notes)


@pytest.mark.parametrize(
    ("track", "bad"), [pytest.param(track, bad, id=bad.name) for track in TRACKS for bad in track.bad]
)
def test_a_bad_version_goes_back_by_itself(tried: dict[str, Tried], track: Track, bad: Bad) -> None:
    outcome = _outcome(tried[track.model], bad)
    status = outcome.status
    assert (status["phase"], status["cause"], status["canary"]) == (bad.phase, bad.cause, outcome.version), status
    assert re.search(bad.says, status["message"]), status["message"]
    assert (status["stable"], status.get("weight", 0)) == (STABLE, 0)
    assert max(outcome.weights, default=0) == bad.weight
    assert outcome.weights[-1:] in ([], [0])
    assert outcome.ready == {"True"}
    assert re.search(
        rf"Warning (RolledBack|RolloutFailed): {re.escape(outcome.version)} went back \({bad.cause}\)", outcome.events
    )
    assert outcome.back <= BACK_SECONDS


def _outcome(story: Tried, bad: Bad) -> Outcome:
    if bad.name not in story.outcomes and story.problem:
        raise story.problem
    return story.outcomes[bad.name]


def test_the_memory_was_really_short(tried: dict[str, Tried], kube: Kube) -> None:
    assert tried
    pods = kube.get("pods", "-l", "app=glutton")["items"]
    ended = [s.get("lastState", {}).get("terminated", {}) for pod in pods for s in pod["status"]["containerStatuses"]]
    assert [end.get("reason") for end in ended] == ["OOMKilled"]


@pytest.mark.parametrize("track", [pytest.param(track, id=track.model) for track in TRACKS])
def test_nobody_was_hurt_and_stable_serves(tried: dict[str, Tried], release: str, kube: Kube, track: Track) -> None:
    story = tried[track.model]
    assert story.failures == []
    assert story.answered > 10
    for _ in range(5):
        headers = {"Content-Type": "image/png"}
        answer = httpx.post(f"{release}/models/{track.model}/predict", content=picture(), headers=headers, timeout=60)
        assert wrong(answer.raise_for_status().content) == ""
        assert answer.headers["X-Model-Version"] == STABLE
    status = kube.get(f"model/{track.model}")["status"]
    assert {target["version"]: target["weight"] for target in status["traffic"] if target["weight"]} == {STABLE: 100}
