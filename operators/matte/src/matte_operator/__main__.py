"""``python -m matte_operator [cleanup]``."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version

import kopf
from matte_telemetry import logs, tracing
from matte_telemetry.names import OPERATOR
from matte_telemetry.prometheus import MetricsServer, PrometheusMeter
from pydantic import ValidationError

from matte_operator.aside import Aside
from matte_operator.cleanup import clean_up
from matte_operator.cluster import Cluster, api_client
from matte_operator.evidence import Reports
from matte_operator.external import Judges
from matte_operator.lease import Lease
from matte_operator.reconcile import Reconciler
from matte_operator.run import Operator, calm, registry
from matte_operator.settings import OperatorSettings

log = logging.getLogger("matte.operator")


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
    for chatty in ("kopf", "urllib3", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(calm)
    meter = PrometheusMeter(OPERATOR)
    cluster = Cluster(api_client(), settings.namespace, meter)
    if arguments:
        left = clean_up(cluster, settings.cleanup_seconds)
        for what in left:
            log.error("still there: %s", what)
        return 1 if left else 0
    return _operate(settings, cluster, meter)


def _operate(settings: OperatorSettings, cluster: Cluster, meter: PrometheusMeter) -> int:
    identity = settings.identity or f"{socket.gethostname()}-{secrets.token_hex(4)}"
    name = f"{settings.release}-matte-operator"
    here = socket.gethostname()
    lease = Lease(cluster, name, identity, clock=time.monotonic, now=lambda: datetime.now(UTC), pod=here)
    aside = Aside()
    reconciler = Reconciler(
        cluster,
        settings.of_release(),
        meter,
        acting=lambda: lease.mine,
        reports=Reports(aside, settings.redis_url.get_secret_value(), settings.redis_prefix),
        judges=Judges(aside, settings.prometheus_url),
    )
    tracer, shut_down_tracing = tracing.set_up("matte-operator", version=version("matte-operator"), instance=identity)
    server = MetricsServer.start(meter.registry, host=settings.listen, port=settings.metrics_port)
    try:
        asyncio.run(_serve(settings, Operator(lease, reconciler, meter, tracer)))
    finally:
        aside.close()
        server.close()
        shut_down_tracing()
    return 0


async def _serve(settings: OperatorSettings, operator: Operator) -> None:
    await kopf.operator(
        registry=registry(operator),
        standalone=True,
        namespaces=[settings.namespace],
        liveness_endpoint=f"http://{settings.listen}:{settings.health_port}/healthz",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
