"""The operator's own identity in a namespace: its service account, with what the chart grants it and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chart.charts import one, rendered
from kubernetes import client, utils

#: that the policy on ModelVersions lets through
ACCOUNT = "matte-operator"
_RBAC = "rbac.authorization.k8s.io"


def kubeconfig(api: client.ApiClient, namespace: str, folder: Path) -> Path:
    """Makes the account and its roles; a file that a program is it by, for an hour."""
    for body in _objects(namespace):
        utils.create_from_dict(api, body, namespace=namespace)  # type: ignore[no-untyped-call]
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
    answer = client.CoreV1Api(api).create_namespaced_service_account_token(ACCOUNT, namespace, request)
    assert answer.status is not None
    here = api.configuration
    cluster = {"server": here.host, "certificate-authority": here.ssl_ca_cert}
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": ACCOUNT, "namespace": namespace}}],
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": ACCOUNT, "user": {"token": answer.status.token}}],
            }
        )
    )
    return path


def revoke(api: client.ApiClient, namespace: str) -> None:
    """What is not in the namespace goes."""
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.delete_cluster_role_binding(f"{namespace}-operator")
    rbac.delete_cluster_role(f"{namespace}-operator")


def _objects(namespace: str) -> list[dict[str, Any]]:
    text = json.dumps(one(rendered(), "Role", "-operator")["rules"])
    rules = json.loads(text.replace('"r-matte-operator"', '"matte-matte-operator"'))  # the Lease of MATTE_RELEASE
    everywhere, name = one(rendered(), "ClusterRole", "-operator")["rules"], f"{namespace}-operator"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}},
        _rbac("Role", ACCOUNT, rules=rules),
        _rbac("ClusterRole", name, rules=everywhere),
        _rbac("RoleBinding", ACCOUNT, **_binding("Role", ACCOUNT, namespace)),
        _rbac("ClusterRoleBinding", name, **_binding("ClusterRole", name, namespace)),
    ]


def _rbac(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": {"name": name}, **fields}


def _binding(kind: str, role: str, namespace: str) -> dict[str, Any]:
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}
    return {"roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role}, "subjects": [account]}
