"""Finds and ends everything that a process started, by its session: Ray's workers outlive their parents."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import psutil

#: seconds; a large process takes a while to return its memory
END_SECONDS = 10.0


def in_session(leader: int) -> Iterator[psutil.Process]:
    """This user's processes in the session of ``leader``, which may itself have ended."""
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE and process.uids().real == os.getuid():
                    yield process


def end_session(leader: int) -> None:
    """Kills a session (SIGKILL) and returns when none of it runs, including what it starts meanwhile."""
    deadline = time.monotonic() + END_SECONDS
    while (found := list(in_session(leader))) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)  # psutil would take the exit status away from whoever waits for it
