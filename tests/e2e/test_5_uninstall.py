"""Uninstall leaves nothing behind but the CRDs."""

from __future__ import annotations

import json

import pytest
from e2e import objects
from e2e.kube import Kube, run, until
from e2e.phases import Phases

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("release")]

NAMESPACE_SECONDS = 60


def test_uninstall_leaves_only_the_crds(kube: Kube, phases: Phases) -> None:
    kube.apply(objects.EARLIER)  # a Model that helm knows nothing of
    for thing in objects.elsewhere():
        kube("delete", thing["kind"].lower(), "elsewhere", "--ignore-not-found")
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
    assert _cluster_wide(kube.namespace) == []
    run("kubectl", "get", "crd", "pools.matte.dev", "models.matte.dev", "modelversions.matte.dev")


def test_the_namespace_goes_quickly(kube: Kube, phases: Phases) -> None:
    with phases("deletion of the namespace"):
        run("kubectl", "delete", "namespace", kube.namespace, f"--timeout={NAMESPACE_SECONDS}s")


def _cluster_wide(namespace: str) -> list[str]:
    kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingwebhookconfigurations"
    items = json.loads(run("kubectl", "get", kinds, "-o", "json"))["items"]
    owner = "meta.helm.sh/release-namespace"
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for item in items
        if item["metadata"].get("annotations", {}).get(owner) == namespace
    ]
