"""The Kubernetes API as the operator uses it: server-side apply, lists, deletes."""

from __future__ import annotations

import json
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError
from kubernetes.dynamic.resource import Resource
from matte_telemetry.instruments import Meter
from matte_telemetry.names import API_REQUESTS

from matte_operator.kinds import FIELD_MANAGER, Body, Kind, name_of

#: seconds to connect, and to wait for an answer
TIMEOUT = (5, 30)
ApiError = (ApiException, DynamicApiError)


def api_client() -> client.ApiClient:
    """A client by the pod's service account, else by kubectl's configuration (``KUBECONFIG``)."""
    configuration = client.Configuration()
    try:  # load_config does the same, but prints a line of its own
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return client.ApiClient(configuration)


class Cluster:
    """Blocking calls; every one is counted. Errors are ``ApiError``, or urllib3's where nobody answers."""

    def __init__(self, api: client.ApiClient, namespace: str, meter: Meter) -> None:
        self._namespace = namespace
        self._meter = meter
        self._dynamic = DynamicClient(api, discoverer=lambda *_: None)  # type: ignore[no-untyped-call]

    def apply(self, kind: Kind, body: Body) -> Body:
        """Server-side apply; returns the object as it is now."""
        return self._apply(kind.kind, self._path(kind, name_of(body)), body)

    def apply_status(self, kind: Kind, name: str, status: Body) -> Body:
        """Server-side apply of the status alone."""
        metadata = {"name": name, "namespace": self._namespace}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status}
        return self._apply(f"{kind.kind}/status", f"{self._path(kind, name)}/status", body)

    def create(self, kind: Kind, body: Body) -> Body:
        """A new object."""
        return self._call("post", kind.kind, self._path(kind), body=body)

    def replace(self, kind: Kind, body: Body) -> Body:
        """An object that must still be the one that ``resourceVersion`` names; 409 where it is not."""
        return self._call("put", kind.kind, self._path(kind, name_of(body)), body=body)

    def get(self, kind: Kind, name: str) -> Body | None:
        """An object, or None."""
        try:
            return self._call("get", kind.kind, self._path(kind, name))
        except NotFoundError:
            return None

    def list(self, kind: Kind, *, everywhere: bool = False, label_selector: str | None = None) -> list[Body]:
        """The objects of a kind in the namespace, or in all of them."""
        path = self._path(kind, everywhere=everywhere)
        found = self._call("get", kind.kind, path, verb="list", label_selector=label_selector)
        known = {"apiVersion": kind.api_version, "kind": kind.kind}  # a list leaves them out of its items
        return [{**known, **item} for item in found["items"]]

    def delete(self, kind: Kind, name: str) -> None:
        """Deletes it, and what it owns in the background; gone already is fine."""
        try:
            self._call("delete", kind.kind, self._path(kind, name), body={"propagationPolicy": "Background"})
        except NotFoundError:
            return

    def _apply(self, counted: str, path: str, body: Body) -> Body:
        options: dict[str, Any] = {"field_manager": FIELD_MANAGER, "force_conflicts": True}
        options["content_type"] = "application/apply-patch+yaml"
        return self._call("patch", counted, path, verb="apply", body=body, **options)

    def _call(self, method: str, counted: str, path: str, verb: str = "", **options: Any) -> Body:
        code = "none"
        try:
            found: Body = self._dynamic.request(method, path, _request_timeout=TIMEOUT, **options).to_dict()
            code = "2xx"
        except ApiError as error:
            code = str(error.status)
            raise
        finally:
            self._meter.add(API_REQUESTS, verb or method, counted, code)
        return found

    def _path(self, kind: Kind, name: str | None = None, *, everywhere: bool = False) -> str:
        """Made by hand: discovery would ask the API server a dozen times at every start."""
        resource = Resource(  # type: ignore[no-untyped-call]
            prefix="apis" if kind.group else "api",
            group=kind.group,
            api_version=kind.version,
            kind=kind.kind,
            namespaced=kind.namespaced,
            name=kind.plural,
            verbs=[],
            client=self._dynamic,
        )
        namespace = self._namespace if kind.namespaced and not everywhere else None
        return str(resource.path(name=name, namespace=namespace))  # type: ignore[no-untyped-call]


def explained(error: BaseException) -> str:
    """What the API server said, or what kept it from saying anything."""
    body = getattr(error, "body", None)
    try:
        return str(json.loads(body)["message"]) if body else str(error)
    except (ValueError, KeyError, TypeError):
        return str(error)
