"""Environment variables that Ray reads when it is imported."""

from collections.abc import Mapping
from types import MappingProxyType

from matte_core.allocator import ONE_ARENA

#: deployment handles without overhead, no extra ports, fewer wake-ups, no task history
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
#: for ``matte serve``. Its replicas watch their own memory; Ray's monitor would kill workers whenever the machine is
#: full, whoever uses the memory. (In a pod, the monitor sees only the pod's cgroup and stays on.) A dead GCS is noticed
#: sooner. Workers are started ahead and preload Serve, but the driver does not wait for them.
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
#: for Kubernetes, where a new traffic split waits for the controller's loop and must apply within a second
POD_ENVIRONMENT: Mapping[str, str] = MappingProxyType({**RAY_ENVIRONMENT, "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1"})
