"""Inference on one machine: a local Ray with all configured versions and a router, until SIGTERM or SIGINT.

SIGHUP reloads the configuration and changes the weights of traffic; the versions stay loaded, and those that failed
are tried again.
"""

from __future__ import annotations

import importlib
import os
import queue
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from matte_core.contracts.ray_environment import LOCAL_ENVIRONMENT

if TYPE_CHECKING:
    from matte_inference.config import ServeConfig
    from matte_inference.downloads import BackgroundReporter
    from matte_inference.fetcher import Fetched, Fetcher, FetchError
    from matte_inference.local import LocalServe
    from matte_inference.settings import InferenceSettings

    #: a signal's number, or what came of a download
    Events = queue.SimpleQueue[int | Fetched | FetchError]

#: exit status when a process of Ray ended: all of it has to be restarted
EXIT_RAY_LOST = 75
#: while something is loading
POLL_SECONDS = 0.1


def main() -> int:
    events: Events = queue.SimpleQueue()
    handle_signals(events)
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from matte_inference.settings import InferenceSettings  # noqa: PLC0415 - after Ray's environment is set

    try:
        local = start(InferenceSettings(), events)
        handle_signals(events)  # Ray has put its own handlers in their place
        run(local, events)
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"matte-inference: {error}\n")
        return 2
    local.stop()
    return 0


def handle_signals(events: Events) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: events.put(number))


def run(local: LocalServe, events: Events) -> None:
    """Loads and serves until a signal ends it. Raises RuntimeError if nothing can give the first answer."""
    ready = False
    wait: float | None = 0.0
    while True:
        try:
            event = events.get(timeout=wait)
        except queue.Empty:
            local.advance()
            if local.settled and not ready:
                ready = True
                sys.stderr.write("matte-inference: ready\n")
            wait = POLL_SECONDS if local.loading else None
            continue
        wait = 0.0
        if event == signal.SIGHUP:
            sys.stderr.write(f"matte-inference: {local.reload()}\n")
        elif isinstance(event, int):
            return
        else:
            local.handle(event)


def start(settings: InferenceSettings, events: Events) -> LocalServe:
    """Starts Ray and Serve, and begins the downloads. Raises ValueError for a wrong configuration, and RuntimeError if
    the folder for Ray's files belongs to another user.
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
        # the import is what another thread does. It also brings what the downloads need
        loading = threads.submit(importlib.import_module, "matte_inference.preload")
        downloading = threads.submit(begin_downloads, config, settings, events)
        node = start_node(
            private_folder(settings.instance), num_cpus=config.processes, metrics_port=settings.ray_metrics_port
        )
        loading.result()
        fetcher, reporter = downloading.result()
    from matte_inference.local import LocalServe  # noqa: PLC0415

    return LocalServe(config, settings, node, fetcher, reporter, exit_at_once)


def begin_downloads(
    config: ServeConfig, settings: InferenceSettings, events: Events
) -> tuple[Fetcher, BackgroundReporter]:
    """What is in the cache already is an event by the time Ray runs."""
    from matte_registry.registry import Registry  # noqa: PLC0415

    from matte_inference.downloads import BackgroundReporter  # noqa: PLC0415
    from matte_inference.fetcher import Fetcher, needs_download  # noqa: PLC0415

    reporter = BackgroundReporter(settings, settings.pool)
    fetcher = Fetcher(Registry(), reporter.downloads, events.put)
    for version in [version for wave in config.waves() for version in wave]:
        if needs_download(version):
            reporter.start()
            fetcher.fetch(version)
    return fetcher, reporter


def exit_at_once(reason: str) -> None:
    """Ends this process without cleaning up; the rest of Ray ends with its session."""
    sys.stderr.write(f"matte-inference: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_RAY_LOST)


if __name__ == "__main__":
    try:
        status = main()
    except SystemExit:  # by Ray's handler of SIGTERM
        status = 0
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)  # a download that waits for bytes would keep this process; its next start resumes it
