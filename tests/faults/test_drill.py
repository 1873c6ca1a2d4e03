"""Promise 1: while frontends, the router, replicas and Redis die, every job is answered, once and right.

``make drill`` is the whole drill.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(960)]
ROOT = Path(__file__).parents[2]


def test_no_job_is_lost_changed_or_stuck() -> None:
    drill = subprocess.Popen(
        [sys.executable, "-m", "bench.drill", "--short"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said = drill.communicate(timeout=900)[0].decode()
    finally:
        drill.send_signal(signal.SIGTERM)  # it ends its server
        drill.wait(15)
    assert drill.returncode == 0, said
