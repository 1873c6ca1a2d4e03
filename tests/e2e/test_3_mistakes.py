"""Mistakes of the platform team: each is told in words that name the field or the fix, and disturbs nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e import objects
from e2e.kube import CommandError, Kube, until
from e2e.phases import Phases
from e2e.traffic import flowing

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_SMALL = {"cpu": "50m", "memory": "1Gi"}
GREEDY = objects.resource(
    "Pool", "greedy", head={"resources": _SMALL}, workers={"gpus": 16, "resources": _SMALL, "sharedMemory": "64Mi"}
)
LOST = objects.resource(
    "Model", "lost", family="transformers", version="1.0.0", source="file:///models/lost", resources=objects.LITTLE
)


@pytest.fixture(scope="module", autouse=True)
def undisturbed(release: str, kube: Kube, phases: Phases) -> Iterator[None]:
    """The good model answers all the while, from the same pods."""
    pods = "jsonpath={.items[*].metadata.uid}"
    pool = ("get", "pods", "-l", "matte.dev/pool=default", "-o", pods)
    before = kube(*pool)
    with phases("four mistakes, with traffic") as phase, flowing(release, users=1) as traffic:
        yield
    phase.notes.append(traffic.summary())
    assert traffic.failures == []
    assert kube(*pool) == before
    assert kube.condition(f"model/{objects.MAIN}", "Ready")["status"] == "True"


def test_wrong_values_are_refused_by_their_names(kube: Kube, helm_arguments: list[str], tmp_path: Path) -> None:
    wrong = tmp_path / "values.yaml"
    wrong.write_text("frontend: {replcas: 3}\nexpose: {type: loadbalancer}\n")
    revision = _revision(kube)
    with pytest.raises(CommandError) as refused:
        kube.helm("upgrade", "matte", str(objects.CHART), *helm_arguments, "--values", str(wrong))
    assert "replcas" in str(refused.value)
    assert re.search(r"expose.type.*'none', 'ingress', 'gateway'|expose.type.*ingress", str(refused.value), re.DOTALL)
    assert _revision(kube) == revision


def _revision(kube: Kube) -> int:
    return int(json.loads(kube.helm("status", "matte", "-o", "json"))["version"])


def test_an_unknown_family_is_refused(kube: Kube) -> None:
    with pytest.raises(CommandError, match=r"spec\.family.*supported values.*grabcut"):
        kube.apply(objects.resource("Model", "odd", family="magic", version="1.0.0"))


def test_gpus_that_are_not_there(kube: Kube) -> None:
    kube.apply(GREEDY)
    try:
        until(lambda: kube.condition("pool/greedy", "CapacityAvailable").get("status") == "False", 120, "a verdict")
        text = kube.condition("pool/greedy", "CapacityAvailable")["message"]
        assert re.search(r"needs 16 nvidia\.com/gpu per worker, the cluster has \d+ free", text), text
        until(lambda: text[:40] in _events(kube, "greedy"), 30, "an Event")
        assert kube.condition("pool/greedy", "Ready")["status"] == "False"
    finally:
        kube("delete", "pool", "greedy", timeout=120)
    until(lambda: "matte.dev/pool=greedy" not in _pool_labels(kube), 120, "the end of the Pool's pods")


def _events(kube: Kube, name: str) -> str:
    found = kube.get("events", f"--field-selector=involvedObject.name={name}")["items"]
    return "\n".join(event["message"] for event in found)


def _pool_labels(kube: Kube) -> str:
    return kube("get", "pods", "-l", "matte.dev/pool", "--show-labels", "--no-headers")


def test_weights_that_are_not_there(kube: Kube) -> None:
    kube.apply(LOST)
    try:
        until(lambda: kube.condition("model/lost", "Ready").get("reason") == "WeightsMissing", 180, "a verdict")
        text = kube.condition("model/lost", "Ready")["message"]
        assert "/models/lost" in text
        assert "source" in text
    finally:
        kube("delete", "model", "lost", timeout=60)
    until(lambda: "modelversion.matte.dev/lost-1-0-0" not in kube("get", "modelversions", "-o", "name"), 60, "its end")
