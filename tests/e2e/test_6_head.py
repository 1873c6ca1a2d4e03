"""Ray's head is lost: the models go on, and it comes back by itself."""

from __future__ import annotations

import time

import pytest
from e2e import objects
from e2e.kube import Kube, until
from e2e.phases import Phases
from e2e.traffic import flowing

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HEAD = ("get", "pods", "-l", "matte.dev/pool=default,ray.io/node-type=head")
WORKERS = (
    "get",
    "pods",
    "-l",
    "matte.dev/pool=default,ray.io/node-type=worker",
    "-o",
    "jsonpath={.items[*].metadata.uid}",
)
#: after the new head is there: its controller finds the replicas, or starts others
AFTERWARDS_SECONDS = 20


def test_the_loss_of_the_head_fails_nobody(release: str, kube: Kube, phases: Phases) -> None:
    (old,), workers = kube(*HEAD, "-o", "name").split(), kube(*WORKERS)
    with phases("Ray's head killed, with traffic") as phase, flowing(release) as traffic:
        began = time.monotonic()
        kube("delete", old, "--force", "--grace-period=0")
        until(lambda: old not in kube(*HEAD, "-o", "name").split(), 60, "the end of the head")
        until(lambda: len(kube(*HEAD, "-o", "name").split()) == 1, 120, "another head")
        kube.wait(kube(*HEAD, "-o", "name").strip(), "condition=Ready", 180)
        phase.notes.append(f"another one Ready after {time.monotonic() - began:.0f} s")
        kube.wait("pool/default", "condition=Ready", 120)
        kube.wait(f"model/{objects.MAIN}", "condition=Ready", 60)
        time.sleep(AFTERWARDS_SECONDS)
    phase.notes.append(traffic.summary())
    assert traffic.failures == []
    assert len(traffic.seconds) > 30
    assert kube(*WORKERS) == workers
    assert kube.condition("pool/default", "Ready")["status"] == "True"
    assert kube.condition(f"model/{objects.MAIN}", "Ready")["status"] == "True"
