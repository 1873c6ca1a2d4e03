"""The cluster suite touches only clusters that are known to be for tests."""

from __future__ import annotations

import pytest
from e2e.kube import refusal


@pytest.mark.parametrize("context", ["kind-kind", "kind-matte", "k3d-dev", "minikube", "mine"])
def test_test_clusters_are_taken(context: str) -> None:
    assert refusal(context, ["mine"]) == ""


@pytest.mark.parametrize("context", ["production", "kind", "kind-", "my-kind-x", "minikube2", "arn:aws:eks:x/mine", ""])
def test_any_other_is_refused_with_the_way_out(context: str) -> None:
    assert f"MATTE_E2E_CONTEXTS={context}" in refusal(context, ["mine"])
