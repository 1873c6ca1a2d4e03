"""Uninstall leaves nothing behind but the CRDs; a namespace that is deleted with an installation in it ends."""

from __future__ import annotations

import json

import pytest
from e2e import objects
from e2e.kube import Kube, run, until
from e2e.phases import Phases

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("release")]

#: workers end with what they run, and their balancers with them; nothing waits for ever
NAMESPACE_SECONDS = 240


def test_uninstall_leaves_only_the_crds(kube: Kube, phases: Phases) -> None:
    kube.apply(objects.EARLIER)  # a Model that helm knows nothing of
    for thing in objects.elsewhere():
        kube("delete", thing["kind"].lower(), "elsewhere", "--ignore-not-found", "--wait=false")
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


def test_a_namespace_goes_with_all_that_is_in_it(kube: Kube, phases: Phases, helm_arguments: list[str]) -> None:
    with phases("helm install, to lose it"):
        kube.helm("install", "matte", str(objects.CHART), *helm_arguments, "--set", "redis.persistence.enabled=false")
        kube.wait("pool/default", "condition=Ready", 300)
        kube.wait("model/grabcut", "condition=Ready", 120)
    with phases("deletion of the namespace, nothing uninstalled"):
        run("kubectl", "delete", "namespace", kube.namespace, "--wait=false")
        limit = f"--timeout={NAMESPACE_SECONDS}s"
        run("kubectl", "wait", "--for=delete", f"namespace/{kube.namespace}", limit, timeout=NAMESPACE_SECONDS + 30)
    for kind, name in map(str.split, _cluster_wide(kube.namespace)):  # a namespace does not take those along
        run("kubectl", "delete", kind, name)


def _cluster_wide(namespace: str) -> list[str]:
    kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingwebhookconfigurations"
    items = json.loads(run("kubectl", "get", kinds, "-o", "json"))["items"]
    owner = "meta.helm.sh/release-namespace"
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for item in items
        if item["metadata"].get("annotations", {}).get(owner) == namespace
    ]
