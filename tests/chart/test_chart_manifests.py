"""Every variant of the chart: valid manifests, restricted pods, network policies."""

from __future__ import annotations

import functools
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from chart.charts import (
    CHART,
    CHARTS,
    KUBERNETES,
    VARIANTS,
    Manifest,
    environment,
    of_kind,
    one,
    pods,
    rendered,
    selects,
    variant,
)
from matte_core.contracts.k8s.model import ModelSpec
from matte_core.contracts.k8s.pool import PoolSpec
from pydantic import BaseModel
from values_contract import ChartValues

every_variant = pytest.mark.parametrize("name", VARIANTS)
CONTRACTS: dict[str, type[BaseModel]] = {"Pool": PoolSpec, "Model": ModelSpec}
#: what is not Kubernetes' own, and the fields without which it does nothing
FOREIGN = {
    "HTTPRoute": ("gateway.networking.k8s.io/v1", {"parentRefs", "rules"}),
    "BackendTrafficPolicy": ("gateway.envoyproxy.io/v1alpha1", {"targetRefs", "timeout"}),
    "PodMonitor": ("monitoring.coreos.com/v1", {"selector", "podMetricsEndpoints"}),
    "PrometheusRule": ("monitoring.coreos.com/v1", {"groups"}),
    "ScaledObject": ("keda.sh/v1alpha1", {"scaleTargetRef", "triggers"}),
}


@functools.cache
def crd_schema(kind: str) -> dict[str, Any]:
    crd = next(
        m for m in rendered(chart=CHARTS / "matte-crds") if m.get("spec", {}).get("names", {}).get("kind") == kind
    )
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def check(manifest: Manifest) -> None:
    kind = manifest["kind"]
    if kind in CONTRACTS:
        jsonschema.validate(manifest, crd_schema(kind))
        CONTRACTS[kind].model_validate(manifest["spec"])
    elif kind in FOREIGN:
        version, fields = FOREIGN[kind]
        assert manifest["apiVersion"] == version
        assert fields <= set(manifest["spec"])
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@every_variant
def test_manifests_are_valid(name: str) -> None:
    manifests = variant(name)
    for manifest in manifests:
        check(manifest)
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))


@every_variant
def test_values_match_the_contract(name: str) -> None:
    text = (CHART / "ci" / f"{name}-values.yaml").read_text()
    given = yaml.safe_load(text)
    given["models"] = {key: spec for key, spec in given.get("models", {}).items() if spec is not None}
    ChartValues.model_validate(given)


@every_variant
def test_objects_are_labeled_and_in_the_namespace(name: str) -> None:
    for manifest in variant(name):
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "r"
        assert labels["helm.sh/chart"].startswith("matte-")
        if not manifest["kind"].startswith("Cluster"):
            assert manifest["metadata"]["namespace"] == "n"


@every_variant
def test_pods_are_restricted(name: str) -> None:
    found = dict(pods(variant(name)))
    assert {"r-matte-frontend", "r-matte-operator", "r-matte-cleanup", "r-matte-test"} <= set(found)
    for owner, pod in found.items():
        spec = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, owner
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all({"emptyDir", "configMap"} & set(volume) for volume in spec.get("volumes", ())), owner
        assert spec["automountServiceAccountToken"] is (owner.endswith(("-operator", "-cleanup"))), owner
        for container in spec["containers"] + spec.get("initContainers", []):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


@every_variant
def test_service_accounts_exist(name: str) -> None:
    manifests = variant(name)
    accounts = {m["metadata"]["name"] for m in of_kind(manifests, "ServiceAccount")}
    assert {pod["spec"]["serviceAccountName"] for _, pod in pods(manifests)} == accounts
    for binding in of_kind(manifests, "RoleBinding") + of_kind(manifests, "ClusterRoleBinding"):
        role = one(manifests, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        assert role["metadata"]["name"] == binding["roleRef"]["name"]
        assert {subject["name"] for subject in binding["subjects"]} <= accounts
        assert {subject["namespace"] for subject in binding["subjects"]} == {"n"}


@every_variant
def test_no_wildcards_in_roles(name: str) -> None:
    manifests = variant(name)
    for role in of_kind(manifests, "Role") + of_kind(manifests, "ClusterRole"):
        for rule in role["rules"]:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        if role["kind"] == "ClusterRole":
            assert {verb for rule in role["rules"] for verb in rule["verbs"]} <= {"get", "list", "watch"}


@every_variant
def test_no_secret_in_the_environment(name: str) -> None:
    manifests = variant(name)
    secrets = {
        value
        for secret in of_kind(manifests, "Secret")
        for key, value in secret["stringData"].items()
        if key in {"password", "url"}
    }
    for _, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            assert not any(secret in str(container) for secret in secrets)


@every_variant
def test_every_pod_has_network_policies(name: str) -> None:
    manifests = variant(name)
    policies = {m["metadata"]["name"]: m["spec"] for m in of_kind(manifests, "NetworkPolicy")}
    deny = policies.pop("r-matte-default-deny")
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in deny
    labels = [pod["metadata"]["labels"] for _, pod in pods(manifests)]
    ray = {"app.kubernetes.io/name": "matte", "app.kubernetes.io/instance": "r"}
    for pod in [*labels, ray | {"app.kubernetes.io/component": "inference", "matte.dev/pool": "default"}]:
        assert selects(deny["podSelector"], pod)
        assert sum(selects(policy["podSelector"], pod) for policy in policies.values()) == 1, pod


@every_variant
def test_selectors_match_their_pods(name: str) -> None:
    manifests = variant(name)
    templates = dict(pods(manifests))
    for owner in of_kind(manifests, "Deployment") + of_kind(manifests, "StatefulSet"):
        assert selects(owner["spec"]["selector"], owner["spec"]["template"]["metadata"]["labels"])
    for service in of_kind(manifests, "Service"):
        pod = templates[service["metadata"]["name"]]
        matched = [
            o
            for o, t in templates.items()
            if selects({"matchLabels": service["spec"]["selector"]}, t["metadata"]["labels"])
        ]
        assert matched == [service["metadata"]["name"]]
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert selects(budget["spec"]["selector"], templates[budget["metadata"]["name"]]["metadata"]["labels"])


@every_variant
def test_secrets_exist(name: str) -> None:
    manifests = variant(name)
    made = {m["metadata"]["name"]: set(m["stringData"]) for m in of_kind(manifests, "Secret")}
    for _, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            for value in environment(container).values() if "env" in container else ():
                if isinstance(value, dict) and "secretKeyRef" in value:
                    assert value["secretKeyRef"]["key"] in made[value["secretKeyRef"]["name"]]
