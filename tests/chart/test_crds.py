"""The CRDs and their policy on a real API server: what they accept, what they refuse, and with which message."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from crd_cases import BAD, Bad, Object, changed, valid
from e2e.kube import until
from kubernetes import config
from matte_core.contracts.k8s import API_VERSION
from matte_core.contracts.k8s.model import Model, ModelVersion
from matte_core.contracts.k8s.pool import Pool

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="needs a cluster: set KUBECONFIG"),
]
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "matte-crds"
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
CONTRACTS: dict[str, Any] = {contract.__name__: contract for contract in (Pool, Model, ModelVersion)}
#: in a Model, what is part of the version, changed; by field
NEW: Object = {
    "pool": "gpu",
    "family": "transformers",
    "source": "file:///models/other",
    "parameters": {"refine": "guided"},
    "license": "MIT",
    "slots": 4,
    "threads": 4,
    "resources": {"cpus": 2},
    "batching": {"maxSize": 2},
}


class Refused(Exception):  # noqa: N818
    """The API server's message."""


class Api:
    """Objects of group matte.dev in one namespace, as one user."""

    def __init__(self, namespace: str, user: str | None = None) -> None:
        self.namespace = namespace
        self._client = config.new_client_from_config()  # type: ignore[no-untyped-call]
        if user:
            self._client.set_default_header("Impersonate-User", user)
            self._client.set_default_header("Impersonate-Group", "system:masters")

    def create(self, body: Object, *, dry: bool = True) -> Object:
        return self._send("POST", body["kind"], "", body, dry=dry)

    def patch(self, body: Object, changes: Object, *, path: str = "", dry: bool = True) -> Object:
        return self._send("PATCH", body["kind"], f"/{body['metadata']['name']}{path}", changes, dry=dry)

    def delete(self, body: Object) -> Object:
        return self._send("DELETE", body["kind"], f"/{body['metadata']['name']}", None, dry=False)

    def _send(self, method: str, kind: str, rest: str, body: Object | None, *, dry: bool) -> Object:
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = self._client.param_serialize(
            method,
            f"/apis/{API_VERSION}/namespaces/{self.namespace}/{kind.lower()}s{rest}",
            query_params=[("fieldValidation", "Strict"), *([("dryRun", "All")] if dry else [])],
            header_params={"Content-Type": content, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = self._client.call_api(*request)
        found: Object = json.loads(response.read())
        if response.status >= 400:
            raise Refused(found["message"])
        return found

    def refused(self, act: Callable[[], Object]) -> str:
        """The message with which the API server refuses it."""
        with pytest.raises(Refused) as caught:
            act()
        return str(caught.value)


def kubectl(*words: str, given: str | None = None) -> str:
    return subprocess.run(["kubectl", *words], input=given, check=True, text=True, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    crds = [f"--filename={CHART}/templates/{name}.yaml" for name in ("pools", "models", "modelversions")]
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=matte-crds", *crds)
    kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
    namespace = f"matte-crds-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    with unbound(found := Api(namespace)):
        yield found
    kubectl("delete", "namespace", namespace, "--timeout=60s")  # raises where something holds it up


@contextlib.contextmanager
def unbound(api: Api) -> Iterator[None]:
    """Without the policy of an installed chart: these tests install one for their namespace only."""
    binding = ("validatingadmissionpolicybinding", "modelversions.matte.dev")
    installed = kubectl("get", *binding, "--ignore-not-found", "--output=json")
    if not installed:
        yield
        return
    kubectl("delete", *binding)

    def taken() -> bool:
        try:
            api.create(valid("ModelVersion"))
        except Refused:
            return False
        return True

    until(taken, 30, "a ModelVersion that nobody owns is taken")  # the API server hears of it a moment later
    yield
    body = json.loads(installed)
    kept = {key: value for key, value in body["metadata"].items() if key in {"name", "labels", "annotations"}}
    kubectl("create", "--filename=-", given=json.dumps({**body, "metadata": kept}))


@pytest.fixture(scope="module")
def model(api: Api) -> Object:
    return api.create(valid("Model", "immutable"), dry=False)


@pytest.fixture(scope="module")
def version(api: Api) -> Object:
    return api.create(valid("ModelVersion", "immutable-1-2-0"), dry=False)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_accepted(api: Api, path: Path) -> None:
    api.create(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_bad_object_is_refused(api: Api, bad: Bad) -> None:
    body = changed(valid(bad.kind), {"spec": bad.spec})
    assert bad.says in api.refused(lambda: api.create(body))


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("Model", "m" * 41, "at most 40 characters"),
        ("Model", "a.b", "no dots"),
        ("Pool", "p" * 41, "at most 40 characters"),
        ("ModelVersion", "v" * 64, "at most 63 characters"),
    ],
)
def test_bad_name_is_refused(api: Api, kind: str, name: str, says: str) -> None:
    assert says in api.refused(lambda: api.create(valid(kind, name)))


@pytest.mark.parametrize("kind", CONTRACTS)
def test_server_defaults_match_the_contract(api: Api, kind: str) -> None:
    spec = api.create(valid(kind))["spec"]
    parsed = CONTRACTS[kind].model_validate(valid(kind)).spec.model_dump(mode="json", exclude_none=True)
    assert spec == _without_empty(parsed)


def _without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_empty(each) for key, each in value.items() if each not in ({}, [], None)}


@pytest.mark.parametrize("field", NEW)
def test_model_fields_are_immutable_within_a_version(api: Api, model: Object, field: str) -> None:
    change = {field: NEW[field]}
    message = api.refused(lambda: api.patch(model, {"spec": change}))
    assert f"spec.{field}" in message
    assert f"{field} cannot change within a version: set spec.version to a new value at the same time" in message
    assert api.patch(model, {"spec": change | {"version": "1.3.0"}})["spec"]["version"] == "1.3.0"


def test_model_cannot_add_fields_to_a_version(api: Api, model: Object) -> None:
    assert "license cannot change" in api.refused(lambda: api.patch(model, {"spec": {"license": "MIT"}}))
    assert "parameters cannot change" in api.refused(lambda: api.patch(model, {"spec": {"parameters": None}}))


def test_model_can_change_fields_outside_the_version(api: Api, model: Object) -> None:
    traffic = [{"version": "1.1.0", "weight": 30}, {"version": "1.2.0", "weight": 70}]
    spec = api.patch(model, {"spec": {"replicas": 3, "default": True, "traffic": traffic}})["spec"]
    assert (spec["replicas"], spec["traffic"]) == (3, traffic)


def test_model_scales(api: Api, model: Object) -> None:
    assert api.patch(model, {"spec": {"replicas": 5}}, path="/scale")["spec"]["replicas"] == 5


@pytest.mark.parametrize("field", [*NEW, "model", "version"])
def test_model_version_is_immutable(api: Api, version: Object, field: str) -> None:
    change = {field: (NEW | {"model": "other", "version": "1.2.1"})[field]}
    message = api.refused(lambda: api.patch(version, {"spec": change}))
    assert f"{field} of a ModelVersion cannot change: set spec.version of its Model to a new value instead" in message


def test_status_is_a_subresource(api: Api, model: Object) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "Serving", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"observedGeneration": 1, "conditions": [condition], "readyVersion": "1.2.0"}
    assert "status" not in api.patch(model, {"status": status})
    found = Model.model_validate(api.patch(model, {"status": status}, path="/status")).status
    assert found is not None
    assert found.conditions[0].reason == "Serving"


@pytest.fixture(scope="class")
def policy(api: Api, version: Object) -> Iterator[None]:
    """The chart's policy, for this namespace only."""
    assert version["metadata"]["uid"]  # made before it is refused
    name = f"{api.namespace}.matte.dev"
    values = {"name": name, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}}}
    files = ["--show-only", "templates/policy.yaml", "--values", "-"]
    rendered = subprocess.run(
        ["helm", "template", "x", str(CHART), *files],
        input=json.dumps({"policy": values | {"extraUsers": ["restorer"]}}),
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout
    kubectl("apply", "--server-side", "--filename=-", given=rendered)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # the API server takes a moment to know it
        try:
            api.create(valid("ModelVersion"))
        except Refused:
            break
        time.sleep(0.2)
    yield
    kubectl("delete", "--filename=-", given=rendered)


@pytest.mark.usefixtures("policy")
class TestPolicy:
    """Who may create and change ModelVersions."""

    @pytest.fixture
    def operator(self, api: Api) -> Api:
        return Api(api.namespace, f"system:serviceaccount:{api.namespace}:matte-operator")

    def test_type_checks(self, api: Api) -> None:
        name = f"validatingadmissionpolicy/{api.namespace}.matte.dev"
        kubectl("wait", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=30s", name)
        assert kubectl("get", name, "--output=jsonpath={.status.typeChecking.expressionWarnings}") == ""

    def test_users_cannot_create(self, api: Api) -> None:
        message = api.refused(lambda: api.create(valid("ModelVersion")))
        assert "ModelVersions are created by the operator" in message
        assert f"kubectl -n {api.namespace} edit model portrait" in message

    def test_users_cannot_scale(self, api: Api, version: Object) -> None:
        message = api.refused(lambda: api.patch(version, {"spec": {"replicas": 3}}))
        assert f"Edit the Model instead: kubectl -n {api.namespace} edit model portrait" in message

    def test_users_can_label(self, api: Api, version: Object) -> None:
        labels = {"metadata": {"labels": {"a": "b"}, "finalizers": ["matte.dev/test"]}}
        assert api.patch(version, labels)["metadata"]["labels"] == {"a": "b"}

    def test_operator_can_create_and_scale(self, operator: Api, version: Object) -> None:
        operator.create(valid("ModelVersion"))
        assert operator.patch(version, {"spec": {"replicas": 3}})["spec"]["replicas"] == 3

    @pytest.mark.parametrize("name", ["matte-operator-2", "default", "not.matte-operator"])
    def test_other_service_accounts_cannot_create(self, api: Api, name: str) -> None:
        other = Api(api.namespace, f"system:serviceaccount:{api.namespace}:{name}")
        assert "created by the operator" in other.refused(lambda: other.create(valid("ModelVersion")))

    def test_operator_of_another_namespace_cannot_create(self, api: Api) -> None:
        other = Api(api.namespace, "system:serviceaccount:elsewhere:matte-operator")
        assert "created by the operator" in other.refused(lambda: other.create(valid("ModelVersion")))

    def test_extra_users_can_create(self, api: Api) -> None:
        Api(api.namespace, "restorer").create(valid("ModelVersion"))

    def test_anyone_can_delete(self, api: Api, operator: Api) -> None:
        gone = operator.create(valid("ModelVersion", "gone-1-0-0"), dry=False)
        api.patch(gone, {"metadata": {"finalizers": ["matte.dev/test"]}}, dry=False)
        api.delete(gone)
        api.patch(gone, {"metadata": {"finalizers": None}}, dry=False)
        assert "not found" in api.refused(lambda: api.patch(gone, {}))
