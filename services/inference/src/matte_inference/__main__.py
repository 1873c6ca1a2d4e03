"""Inference on one machine: a local Ray with all configured versions and a router, until SIGTERM or SIGINT.

SIGHUP reloads the configuration and changes the weights of traffic; the versions stay loaded.
"""

from __future__ import annotations

import importlib
import os
import queue
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from matte_core.contracts.ray_environment import LOCAL_ENVIRONMENT

if TYPE_CHECKING:
    from matte_inference.local import LocalServe
    from matte_inference.settings import InferenceSettings

#: exit status when a process of Ray ended: all of it has to be restarted
EXIT_RAY_LOST = 75


def main() -> int:
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: received.put(number))
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from matte_inference.settings import InferenceSettings  # noqa: PLC0415 - after Ray's environment is set

    settings = InferenceSettings()
    try:
        local = start(settings)
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"matte-inference: {error}\n")
        return 2
    sys.stderr.write("matte-inference: ready\n")
    while received.get() == signal.SIGHUP:
        sys.stderr.write(f"matte-inference: {local.reload(settings)}\n")
    local.stop()
    return 0


def start(settings: InferenceSettings) -> LocalServe:
    """Returns when all that is configured runs. Raises ValueError for a wrong configuration, and RuntimeError if a
    version did not start or the folder for Ray's files belongs to another user.
    """
    from matte_inference.config import load_config  # noqa: PLC0415
    from matte_inference.memory import default_bound  # noqa: PLC0415
    from matte_inference.node import private_folder, start_node  # noqa: PLC0415
    from matte_inference.settings import set_environment  # noqa: PLC0415

    config = load_config(settings.config, settings.model_version)
    if not settings.replica_max_memory_bytes:  # replicas inherit it
        bound = default_bound(sum(version.replicas for version in config.versions))
        set_environment(MATTE_REPLICA_MAX_MEMORY_BYTES=str(bound))
    with ThreadPoolExecutor(1) as threads:
        # Serve takes as long to import as Ray's processes to start; these end with the thread that started them, so
        # the import is what another thread does
        loading = threads.submit(importlib.import_module, "matte_inference.preload")
        node = start_node(
            private_folder(settings.instance), num_cpus=config.processes, metrics_port=settings.ray_metrics_port
        )
        loading.result()
    from matte_inference.local import LocalServe  # noqa: PLC0415

    return LocalServe.start(config, node, exit_at_once)


def exit_at_once(reason: str) -> None:
    """Ends this process without cleaning up; the rest of Ray ends with its session."""
    sys.stderr.write(f"matte-inference: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_RAY_LOST)


if __name__ == "__main__":
    sys.exit(main())
