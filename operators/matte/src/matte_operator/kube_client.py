"""A client of the Kubernetes API: server-side apply, get, list, create, replace and delete."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError
from matte_telemetry.metrics import Meter
from urllib3.exceptions import HTTPError

from matte_operator.kinds import FIELD_MANAGER, Body, Kind, name_of
from matte_operator.metrics import API_REQUESTS

#: seconds to connect, and to wait for an answer
TIMEOUT = (5, 30)
#: all that a call can raise: the API server refused it, or did not answer
ApiError = (ApiException, DynamicApiError, HTTPError)


def api_client() -> client.ApiClient:
    """A client with the pod's service account, else with kubectl's configuration (``KUBECONFIG``)."""
    configuration = client.Configuration()
    try:  # load_config does the same, but prints a line of its own
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return client.ApiClient(configuration)


class KubeClient:
    """Blocking calls in one namespace, each counted. They raise ``ApiError``."""

    def __init__(self, api: client.ApiClient, namespace: str, meter: Meter) -> None:
        self._namespace = namespace
        self._meter = meter
        self._dynamic = DynamicClient(api, discoverer=lambda *_: None)  # type: ignore[no-untyped-call]

    def apply(self, kind: Kind, body: Body) -> Body:
        return self._apply(kind.kind, self._path(kind, name_of(body)), body)

    def apply_status(self, kind: Kind, name: str, status: Body) -> Body:
        metadata = {"name": name, "namespace": self._namespace}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status}
        return self._apply(f"{kind.kind}/status", f"{self._path(kind, name)}/status", body)

    def create(self, kind: Kind, body: Body) -> Body:
        return self._call("post", kind.kind, self._path(kind), body=body)

    def replace(self, kind: Kind, body: Body) -> Body:
        """Fails with 409 where the object is no longer the one that ``resourceVersion`` names."""
        return self._call("put", kind.kind, self._path(kind, name_of(body)), body=body)

    def get(self, kind: Kind, name: str) -> Body | None:
        try:
            return self._call("get", kind.kind, self._path(kind, name))
        except NotFoundError:
            return None

    def list(self, kind: Kind, *, all_namespaces: bool = False, label_selector: str | None = None) -> list[Body]:
        path = self._path(kind, all_namespaces=all_namespaces)
        answer = self._call("get", kind.kind, path, verb="list", label_selector=label_selector)
        type_meta = {"apiVersion": kind.api_version, "kind": kind.kind}  # the items of a list come without it
        return [{**type_meta, **item} for item in answer["items"]]

    def delete(self, kind: Kind, name: str) -> None:
        """Deletes an object, and what it owns in the background; it may be gone already."""
        with suppress(NotFoundError):
            self._call("delete", kind.kind, self._path(kind, name), body={"propagationPolicy": "Background"})

    def _apply(self, counted_kind: str, path: str, body: Body) -> Body:
        options = {"field_manager": FIELD_MANAGER, "content_type": "application/apply-patch+yaml"}
        return self._call("patch", counted_kind, path, verb="apply", body=body, force_conflicts=True, **options)

    def _call(self, method: str, counted_kind: str, path: str, verb: str = "", **options: Any) -> Body:
        code = "none"
        try:
            answer: Body = self._dynamic.request(method, path, _request_timeout=TIMEOUT, **options).to_dict()
            code = "2xx"
        except (ApiException, DynamicApiError) as error:
            code = str(error.status)
            raise
        finally:
            self._meter.add(API_REQUESTS, verb or method, counted_kind, code)
        return answer

    def _path(self, kind: Kind, name: str = "", *, all_namespaces: bool = False) -> str:
        """Built by hand: discovery would ask the API server a dozen times at every start."""
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
        namespace = f"/namespaces/{self._namespace}" if kind.namespaced and not all_namespaces else ""
        return f"{root}{namespace}/{kind.plural}{f'/{name}' if name else ''}"


def error_message(error: BaseException) -> str:
    """What the API server answered, or why there is no answer."""
    body = getattr(error, "body", None)
    try:
        return str(json.loads(body)["message"]) if body else str(error)
    except (ValueError, KeyError, TypeError):
        return str(error)
