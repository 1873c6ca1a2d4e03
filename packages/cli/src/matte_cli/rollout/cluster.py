"""Models on a cluster. Imported only where it is needed: the Kubernetes client is an extra."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from matte_core.contracts.k8s import API_VERSION
from urllib3.exceptions import HTTPError

from matte_cli.rollout.state import RolloutError

FIELD_MANAGER = "matte-cli"
#: seconds to connect, and to wait for an answer
_TIMEOUT = (5, 30)
_GROUP, _, _VERSION = API_VERSION.partition("/")


class TransientError(RolloutError):
    """The API server is unreachable or overloaded; a retry may help."""


class Cluster:
    """The Models of a namespace. Calls block, and raise TransientError or another RolloutError."""

    def __init__(self, api: client.CustomObjectsApi, namespace: str) -> None:
        self._api, self.namespace = api, namespace

    @classmethod
    def connect(cls, namespace: str | None, context: str | None) -> Cluster:
        """Uses kubectl's configuration (``KUBECONFIG``), by default the current context and its namespace."""
        found = client.Configuration()
        found.retries = False  # of urllib3, which would print a line for each
        try:
            config.load_kube_config(context=context, client_configuration=found)  # type: ignore[no-untyped-call]
            contexts, active = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise RolloutError(f"kubectl's configuration cannot be used: {error}") from error
        used = next((each for each in contexts if each["name"] == context), active)
        inside = (used or {}).get("context", {}).get("namespace")
        return cls(client.CustomObjectsApi(client.ApiClient(found)), namespace or inside or "default")

    def model(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call(
            lambda: self._api.get_namespaced_custom_object(
                _GROUP, _VERSION, self.namespace, "models", name, _request_timeout=_TIMEOUT
            ),
            f"Model {name}",
        )
        return found

    def versions(self, model: str) -> list[dict[str, Any]]:
        """The ModelVersions of a Model, oldest first."""
        found = self._call(
            lambda: self._api.list_namespaced_custom_object(
                _GROUP, _VERSION, self.namespace, "modelversions", _request_timeout=_TIMEOUT
            ),
            "ModelVersions",
        )
        own = [body for body in found["items"] if body["spec"]["model"] == model]
        return sorted(own, key=lambda body: str(body["metadata"]["creationTimestamp"]))

    def patch(self, name: str, patch: Mapping[str, Any], *, dry: bool) -> None:
        """Applies a JSON merge patch to a Model; ``dry``: the API server only validates it."""
        self._call(
            lambda: self._api.patch_namespaced_custom_object(
                _GROUP, _VERSION, self.namespace, "models", name, dict(patch), field_manager=FIELD_MANAGER,
                dry_run="All" if dry else None,
                _content_type="application/merge-patch+json", _request_timeout=_TIMEOUT,
            ),
            f"Model {name}",
        )  # fmt: skip

    def _call(self, work: Callable[[], object], what: str) -> Any:
        try:
            return work()
        except ApiException as error:
            kind = TransientError if error.status in {0, 429, 500, 502, 503, 504} else RolloutError
            raise kind(f"{what} in namespace {self.namespace}: {_message(error)}") from error
        except (HTTPError, OSError) as error:
            raise TransientError(f"the cluster's API does not answer: {error}") from error


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
