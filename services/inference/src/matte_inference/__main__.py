"""Inference on one machine: a local Ray with every configured version and a router, until SIGTERM.

SIGHUP reads the configuration again and moves traffic by its weights; what is loaded stays.
"""

from __future__ import annotations

import os
import queue
import signal
import sys

from matte_core.render.environment import LOCAL_ENVIRONMENT

#: exit status when a part of Ray ended: all of it has to be started anew
PART_LOST = 75


def main() -> int:
    """Starts, says ``ready``, and ends cleanly on SIGTERM or SIGINT."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: received.put(number))
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from matte_inference.local import LocalServe  # noqa: PLC0415 - after Ray's environment is set
    from matte_inference.settings import InferenceSettings  # noqa: PLC0415

    settings = InferenceSettings()
    try:
        local = LocalServe.start(settings, lost)
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"matte-inference: {error}\n")
        return 2
    sys.stderr.write("matte-inference: ready\n")
    while received.get() == signal.SIGHUP:
        sys.stderr.write(f"matte-inference: {local.reload(settings)}\n")
    local.stop()
    return 0


def lost(reason: str) -> None:
    """Ends this process at once: what Ray still runs of it is headless, and ends with its session."""
    sys.stderr.write(f"matte-inference: {reason}\n")
    sys.stderr.flush()
    os._exit(PART_LOST)


if __name__ == "__main__":
    sys.exit(main())
