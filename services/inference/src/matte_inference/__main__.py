"""Inference on one machine: a local Ray with every configured version and a router, until SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading

#: read by Ray when it is imported: lean handles (references only travel in them), no ports open, few wake-ups
RAY_ENVIRONMENT = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def main() -> int:
    """Starts, says ``ready``, and ends cleanly on SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from matte_inference.local import LocalServe  # noqa: PLC0415 - after Ray's environment is set
    from matte_inference.settings import InferenceSettings  # noqa: PLC0415

    try:
        local = LocalServe.start(InferenceSettings())
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"matte-inference: {error}\n")
        return 2
    sys.stderr.write("matte-inference: ready\n")
    stop.wait()
    local.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
