"""Uninstall leaves nothing behind but the CRDs."""

from __future__ import annotations

import pytest
from e2e import objects
from e2e.kube import Kube, run, until
from e2e.phases import Phases

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("release")]


def test_uninstall_leaves_only_the_crds(kube: Kube, phases: Phases) -> None:
    kube.apply(objects.EARLIER)  # a Model that helm knows nothing of
    for thing in objects.elsewhere():
        kube("delete", thing["kind"].lower(), "elsewhere", "--ignore-not-found", "--wait=false")
    for thing in objects.store():
        kube("delete", thing["kind"].lower(), "store", "--ignore-not-found", "--wait=false")
    with phases("helm uninstall"):
        kube.helm("uninstall", "matte", "--wait")
    with phases("nothing is left"):
        left: list[set[str]] = [set()]

        def gone() -> bool:
            left[0] = kube.everything()
            return not left[0]

        try:
            until(gone, 120, "an empty namespace", pause=2)
        except TimeoutError:
            assert left[0] == set()
    assert kube.cluster_wide() == []
    run("kubectl", "get", "crd", "pools.matte.dev", "models.matte.dev", "modelversions.matte.dev")
