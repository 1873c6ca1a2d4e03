"""Ray's environment, the same on one machine and in Kubernetes."""

from collections.abc import Mapping
from types import MappingProxyType

#: read by Ray when it is imported: lean handles (references only travel in them), no ports open, few wake-ups
RAY_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
)
#: in Kubernetes every change of traffic waits for the controller's loop, and must be there within a second
POD_ENVIRONMENT: Mapping[str, str] = MappingProxyType({**RAY_ENVIRONMENT, "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1"})
