"""The stock JavaScript client through a round robin that is not sticky."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from integration.frontend.conftest import Platform

NODE = Path(__file__).parents[2] / "node"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("node") is None or shutil.which("npm") is None, reason="node is not installed"),
]


@pytest.fixture(scope="module")
def client_package() -> None:
    """Installs what the lock file names, once."""
    if not (NODE / "node_modules/@gradio/client").is_dir():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=NODE, check=True, timeout=300, capture_output=True)


def test_lock_file_names_no_host() -> None:
    lock = json.loads((NODE / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]
    assert packages
    assert all("resolved" not in package and package["integrity"] for package in packages)


@pytest.mark.usefixtures("client_package")
def test_stock_client(platform: Platform, jpeg_file: Path) -> None:
    since = len(platform.proxy.served)
    done = subprocess.run(
        ["node", "gradio.mjs", platform.url, str(jpeg_file)], cwd=NODE, capture_output=True, text=True, timeout=120,
        check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["cut"]["status"], seen["cut"]["type"]) == (200, "image/webp")
    assert seen["meta"]["foreground"] == "found"
    assert 0 < seen["meta"]["uncertainty"] < 1
    assert (seen["again"]["status"], seen["again"]["type"]) == (200, "image/png")
    kinds = [file["type"] for file in seen["data"]]
    assert kinds == ["image/webp", "image/png", "image/png"], "a preview, the result, and it again at the end"
    assert {"pending", "generating", "complete"} <= set(seen["stages"])
    assert seen["positions"]
    assert [needle in text for needle, text in zip(("no model", "out of memory", "not a color"), seen["errors"],
                                                   strict=True)] == [True] * 3  # fmt: skip
    assert "canceled" in seen["canceled"]
    assert len(set(platform.proxy.served[since:])) == 2
