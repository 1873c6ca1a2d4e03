"""Explicit shares: what users see is what was asked for, and changes are there at once."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from statistics import NormalDist

import httpx
import pytest
from e2e import objects
from e2e.drives import driving
from e2e.kube import Kube, until
from e2e.phases import Phases
from e2e.traffic import flowing, picture
from e2e.watch import Watch, watching

pytestmark = [pytest.mark.e2e, pytest.mark.rollouts, pytest.mark.timeout(900)]

OLD, NEW = "1.0.0", "1.1.0"
REQUESTS, SHARES = 10_000, {OLD: 90, NEW: 10}
#: the smallest picture that a network would look at costs more than the way to it, which is what is tried here
SIDE = 7
USERS, GROWS = 300, (5, 20, 50)
#: one second is aimed at; 1.4 to 1.8 s were measured on two cores
EFFECT_SECONDS = 2.0
CHANGES = (0, 60, 10, 100, 5)


@pytest.fixture(scope="module")
def watch(release: str, kube: Kube) -> Iterator[Watch]:
    assert release
    with watching(kube) as seen:
        yield seen


@pytest.fixture(scope="module")
def split(release: str, kube: Kube, phases: Phases) -> Iterator[str]:
    """A Model with two versions that share its traffic; the path of its pictures."""
    with phases("a Model of two versions Ready"):
        kube.apply(objects.resource("Model", "split", **objects.main(OLD, slots=4)))
        kube.wait("model/split", "condition=Ready", 120)
        kube.apply(objects.resource("Model", "split", **objects.main(NEW, slots=4, traffic=_traffic(0))))
        until(lambda: "split-1-1-0" in kube("get", "modelversions", "-o", "name"), 30, "the new ModelVersion")
        kube.wait("modelversion/split-1-1-0", "condition=Ready", 120)
    yield f"{release}/models/split/predict"
    kube("delete", "model", "split", "--wait=false")


def _traffic(new: int) -> list[objects.Object]:
    return [{"version": OLD, "weight": 100 - new}, {"version": NEW, "weight": new}]


def _move(kube: Kube, watch: Watch, new: int) -> float:
    """Seconds from the API's yes to the routers' change."""
    before = len(watch.of("split"))
    kube("patch", "model", "split", "--type=merge", "--patch", json.dumps({"spec": {"traffic": _traffic(new)}}))
    until(lambda: len(watch.of("split")) > before, 10, "the watch's word", pause=0.02)
    asked = watch.of("split")[before].at
    until(lambda: watch.weights("split", NEW)[-1] == new, 30, f"{new} %", pause=0.02)
    return watch.when("split", NEW, new, since=asked - 1) - asked


@pytest.mark.usefixtures("split")
def test_new_weights_are_there_at_once(release: str, kube: Kube, watch: Watch, phases: Phases) -> None:
    until(lambda: watch.weights("split", NEW)[-1:] == [0], 30, "the routers' word")
    with phases("weights change, with traffic") as phase, flowing(release, "/models/split/predict") as traffic:
        seconds = [_move(kube, watch, weight) for weight in CHANGES[1:]]
    phase.notes += [traffic.summary(), f"from the edit to the routers: {', '.join(f'{s:.2f}' for s in seconds)} s"]
    assert traffic.failures == []
    assert max(seconds) <= EFFECT_SECONDS


def test_ten_thousand_requests_see_the_split(
    split: str, release: str, kube: Kube, watch: Watch, phases: Phases
) -> None:
    assert split
    _move(kube, watch, SHARES[NEW])
    time.sleep(2)  # the frontends' catalogs, which the driver compares with, are a second old at most
    count = ("--requests", str(REQUESTS), "--concurrency", "8", "--key-from", str(REQUESTS))
    with phases(f"{REQUESTS} requests at 90/10") as phase:
        with driving(release, "split", *count, side=SIDE) as driven:
            driven.wait(420)
        (window,) = driven.report["splits"]
        shares = {share["version"]: share for share in window["shares"]}
        new = shares[NEW]
        phase.notes.append(driven.summary())
        phase.notes.append(
            f"{new['share']:.2%} of {window['counted']}, 99 % sure {new['low']:.2%} to {new['high']:.2%}"
        )
    assert driven.failures() == []
    assert (window["weights"], window["unit"], window["counted"]) == (SHARES, "users", REQUESTS)
    assert all(share["within"] for share in shares.values()), shares


def test_users_move_only_where_they_must(split: str, kube: Kube, watch: Watch, phases: Phases) -> None:
    keys = [f"user-{number}" for number in range(USERS)]
    on_new: list[set[str]] = []
    with phases(f"{USERS} users while the new version grows from 5 to 50 %") as phase:
        for weight in GROWS:
            _move(kube, watch, weight)
            on_new.append({key for key, version in _versions(split, keys).items() if version == NEW})
        phase.notes.append(
            "on the new version: " + ", ".join(f"{len(keys)} at {w} %" for keys, w in zip(on_new, GROWS, strict=True))
        )
    assert all(earlier <= later for earlier, later in pairwise(on_new))  # nobody goes back
    for users, weight in zip(on_new, GROWS, strict=True):
        assert abs(len(users) / USERS - weight / 100) <= _margin(weight / 100, USERS)
    moved, must = len(on_new[-1] - on_new[0]) / USERS, (GROWS[-1] - GROWS[0]) / 100
    assert abs(moved - must) <= _margin(must, USERS)


def _margin(share: float, draws: int) -> float:
    """Half the width of the interval that holds 999 of 1000 such samples."""
    return NormalDist().inv_cdf(0.9995) * math.sqrt(share * (1 - share) / draws)


def _versions(url: str, keys: Sequence[str]) -> dict[str, str]:
    """The version that answers each user, asked twice by some."""
    body = picture(SIDE)
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(4) as pool:

        def version(key: str) -> str:
            headers = {"Content-Type": "image/png", "X-Route-Key": key}
            return str(client.post(url, content=body, headers=headers).raise_for_status().headers["X-Model-Version"])

        first = dict(zip(keys, pool.map(version, keys), strict=True))
        again = dict(zip(keys[::10], pool.map(version, keys[::10]), strict=True))
    assert again.items() <= first.items()
    return first
