"""The metrics of the operator."""

from __future__ import annotations

from matte_telemetry.metrics import CALL_SECONDS, Metric
from matte_telemetry.prometheus import PrometheusMeter

RECONCILES = Metric("counter", "matte_operator_reconciles_total", "Reconciliations by result.", ("kind", "result"))
RECONCILE_SECONDS = Metric(
    "histogram", "matte_operator_reconcile_duration_seconds", "Time of a reconciliation.", ("kind",), CALL_SECONDS
)
API_REQUESTS = Metric(
    "counter", "matte_operator_api_requests_total", "Calls of the Kubernetes API.", ("verb", "kind", "code")
)
LEADER = Metric("gauge", "matte_operator_leader", "1 while this operator is the one that acts.")
CONDITION = Metric(
    "gauge", "matte_operator_condition", "1 for the status that an object's condition has, 0 for the others.",
    ("kind", "name", "type", "status"),
)  # fmt: skip
OPERATOR = (RECONCILES, RECONCILE_SECONDS, API_REQUESTS, LEADER, CONDITION)


def set_condition(meter: PrometheusMeter, kind: str, name: str, condition: str, status: str) -> None:
    for each in ("True", "False", "Unknown"):
        meter.set(CONDITION, kind, name, condition, each, to=float(each == status))
