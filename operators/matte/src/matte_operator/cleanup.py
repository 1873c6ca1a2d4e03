"""Before an uninstall: deletes Models and Pools, also those that helm does not know, and what KubeRay made of them."""

from __future__ import annotations

import logging
import time

from matte_operator.kinds import MODEL, POOL, RAY_CLUSTER, RAY_SERVICE, name_of
from matte_operator.kube_client import KubeClient

log = logging.getLogger("matte.operator")

_POLL_SECONDS = 2.0
_SELECTOR = "app.kubernetes.io/name=matte"


def clean_up(kube: KubeClient, timeout: float) -> list[str]:
    """Deletes the namespace's Models and Pools; what is left of them after ``timeout`` seconds, as ``Kind name``."""
    for kind in (MODEL, POOL):
        for body in kube.list(kind):
            log.info("%s/%s: deleting", kind.kind.lower(), name_of(body))
            kube.delete(kind, name_of(body))
    end = time.monotonic() + timeout
    while True:
        left = [
            f"{kind.kind} {name_of(body)}"
            for kind, selector in ((POOL, None), (RAY_SERVICE, _SELECTOR), (RAY_CLUSTER, _SELECTOR))
            for body in kube.list(kind, label_selector=selector)
        ]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(_POLL_SECONDS)
