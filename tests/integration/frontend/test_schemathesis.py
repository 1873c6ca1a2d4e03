"""schemathesis, with requests that fit ``/openapi.json`` and ones that do not: every answer is as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from integration.frontend.conftest import Platform

HERE = Path(__file__).parent
pytestmark = pytest.mark.integration


def test_it_finds_nothing(platform: Platform, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("st")), "--config-file", str(HERE / "schemathesis.toml"),
        "run", f"{platform.url}/openapi.json", "--no-color", "--continue-on-failure",
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
