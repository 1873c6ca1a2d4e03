"""Ray's environment, the same on one machine and in Kubernetes."""

from collections.abc import Mapping
from types import MappingProxyType

from matte_core.allocator import ONE_ARENA

#: read by Ray when it is imported: lean handles (references only travel in them), no ports open, few wake-ups, no lists
#: of tasks that nobody looks at.
RAY_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_event_stats": "0",
        **ONE_ARENA,
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
)
#: on one machine, where memory is watched for each replica: Ray's own monitor would end every worker as soon as the
#: machine is full, whoever took it (a pod's is of the pod's cgroup, and stays). A silent GCS is given up sooner.
#: Workers are started and load Serve before they are asked for, and nobody waits for them.
LOCAL_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        **RAY_ENVIRONMENT,
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
        "RAY_enable_worker_prestart": "1",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_preload_python_modules": "matte_inference.preload",
    }
)
#: in Kubernetes every change of traffic waits for the controller's loop, and must be there within a second
POD_ENVIRONMENT: Mapping[str, str] = MappingProxyType({**RAY_ENVIRONMENT, "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1"})
