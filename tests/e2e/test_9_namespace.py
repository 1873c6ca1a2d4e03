"""A namespace that is deleted with an installation in it ends by itself: no finalizer holds it."""

from __future__ import annotations

import pytest
from e2e import objects
from e2e.kube import Kube, run
from e2e.phases import Phases

pytestmark = [pytest.mark.e2e, pytest.mark.rollouts, pytest.mark.timeout(900), pytest.mark.usefixtures("release")]

#: workers end with what they run, and their balancers with them; nothing waits for ever
NAMESPACE_SECONDS = 240


def test_a_namespace_goes_with_all_that_is_in_it(kube: Kube, phases: Phases, helm_arguments: list[str]) -> None:
    if "matte" not in kube.helm("list", "--short").split():  # uninstalled by the test before
        with phases("helm install, to lose it"):
            lost = ("--set", "redis.persistence.enabled=false")
            kube.helm("install", "matte", str(objects.CHART), *helm_arguments, *lost)
            kube.wait("pool/default", "condition=Ready", 300)
            kube.wait(f"model/{objects.MAIN}", "condition=Ready", 120)
    with phases("deletion of the namespace, nothing uninstalled"):
        run("kubectl", "delete", "namespace", kube.namespace, "--wait=false")
        limit = f"--timeout={NAMESPACE_SECONDS}s"
        run("kubectl", "wait", "--for=delete", f"namespace/{kube.namespace}", limit, timeout=NAMESPACE_SECONDS + 30)
    for kind, name in map(str.split, kube.cluster_wide()):  # a namespace does not take those along
        run("kubectl", "delete", kind, name)
