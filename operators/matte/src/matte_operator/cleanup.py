"""Before an uninstall: Models and Pools end, also those that helm knows nothing of, and what KubeRay made of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from matte_operator.cluster import Cluster
from matte_operator.kinds import MODEL, POOL, RAY_CLUSTER, RAY_SERVICE, name_of

log = logging.getLogger("matte.operator")

_POLL_SECONDS = 2.0
_OURS = "app.kubernetes.io/name=matte"


def clean_up(cluster: Cluster, seconds: float, clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Deletes the namespace's Models and Pools and waits until their Ray clusters are gone.

    Returns what was left after ``seconds``, as ``Kind name``; empty is all gone. Errors as of :class:`Cluster`.
    """
    for kind in (MODEL, POOL):
        for body in cluster.list(kind):
            log.info("deleting %s %s", kind.kind, name_of(body))
            cluster.delete(kind, name_of(body))
    end = clock() + seconds
    while left := _left(cluster):
        if clock() >= end:
            return left
        time.sleep(_POLL_SECONDS)
    return []


def _left(cluster: Cluster) -> list[str]:
    selectors = {POOL: None, RAY_SERVICE: _OURS, RAY_CLUSTER: _OURS}
    return [
        f"{kind.kind} {name_of(body)}"
        for kind, selector in selectors.items()
        for body in cluster.list(kind, label_selector=selector)
    ]
