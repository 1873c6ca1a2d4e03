"""``python -m matte_operator [cleanup]``."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import sys
import time
from importlib.metadata import version

import kopf
from matte_telemetry import logs, tracing
from matte_telemetry.prometheus import MetricsServer, PrometheusMeter
from pydantic import ValidationError

from matte_operator.background_loop import BackgroundLoop
from matte_operator.controller import Controller, downgrade_retries, registry
from matte_operator.evidence_client import EvidenceClient
from matte_operator.external_checks import ExternalChecks
from matte_operator.kinds import MODEL, POOL, RAY_CLUSTER, RAY_SERVICE, name_of
from matte_operator.kube_client import KubeClient, api_client
from matte_operator.leader_election import LeaderElector
from matte_operator.metrics import OPERATOR
from matte_operator.reconciler import Reconciler
from matte_operator.settings import OperatorSettings

log = logging.getLogger("matte.operator")

_POLL_SECONDS = 2.0
_SELECTOR = "app.kubernetes.io/name=matte"


def main(arguments: list[str]) -> int:
    """Runs until SIGTERM; with ``cleanup``, until nothing is left. 2: the environment or the arguments are wrong."""
    if arguments not in ([], ["cleanup"]):
        sys.stderr.write("usage: python -m matte_operator [cleanup]\n")
        return 2
    try:
        settings = OperatorSettings()
    except ValidationError as error:
        sys.stderr.write(f"matte-operator: {error}\n")
        return 2
    logs.set_up("INFO")
    for name in ("kopf", "urllib3", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(downgrade_retries)
    meter = PrometheusMeter(OPERATOR)
    kube = KubeClient(api_client(), settings.namespace, meter)
    if arguments:
        left = _clean_up(kube, settings.cleanup_seconds)
        for what in left:
            log.error("still there: %s", what)
        return 1 if left else 0

    pod = socket.gethostname()
    identity = settings.identity or f"{pod}-{secrets.token_hex(4)}"
    lease = f"{settings.release}-matte-operator"
    elector = LeaderElector(kube, lease, identity, clock=time.monotonic, pod=pod)
    background = BackgroundLoop()
    reconciler = Reconciler(
        kube,
        settings.to_release(),
        meter,
        may_write=lambda: elector.is_leader,
        evidence_client=EvidenceClient(background, settings.redis_url.get_secret_value(), settings.redis_prefix),
        external_checks=ExternalChecks(background, settings.prometheus_url),
    )
    tracer, shut_down_tracing = tracing.set_up("matte-operator", version=version("matte-operator"), instance=identity)
    server = MetricsServer.start(meter.registry, host=settings.listen, port=settings.metrics_port)

    operator = kopf.operator(
        registry=registry(Controller(elector, reconciler, meter, tracer)),
        standalone=True,
        namespaces=[settings.namespace],
        liveness_endpoint=f"http://{settings.listen}:{settings.health_port}/healthz",
    )
    try:
        asyncio.run(operator)
    finally:
        background.close()
        server.close()
        shut_down_tracing()
    return 0


def _clean_up(kube: KubeClient, timeout: float) -> list[str]:
    """Before an uninstall: deletes Models and Pools, also those that helm does not know, and what KubeRay made of them.

    Returns what is left after ``timeout`` seconds, as ``Kind name``.
    """
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
