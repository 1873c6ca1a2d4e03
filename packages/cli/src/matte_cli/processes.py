"""Everything that a process started, found by its session: Ray's workers outlive their parents, but not this."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import psutil

#: seconds; the kernel ends a process at once, but a large one takes a while to give its memory back
END_SECONDS = 10.0


def in_session(leader: int) -> Iterator[psutil.Process]:
    """Processes of this user in the session that ``leader`` opened; it may have ended itself, or be one of them."""
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE and process.uids().real == os.getuid():
                    yield process


def end_session(leader: int) -> None:
    """Ends all of a session by SIGKILL, and returns when nothing of it runs; what it starts meanwhile ends as well."""
    deadline = time.monotonic() + END_SECONDS
    while (found := list(in_session(leader))) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)  # psutil would take the exit status away from whoever waits for it
