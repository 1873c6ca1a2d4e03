"""``matte jobs`` with a real frontend and a real store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from integration.frontend.conftest import Platform
from integration.frontend.processes import wait_until

pytestmark = pytest.mark.integration
JPEG = {"Content-Type": "image/jpeg"}


def matte(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    address = platform.url.removeprefix("http://")
    command = [sys.executable, "-m", "matte_cli", *arguments, "--url", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def submitted(client: httpx.Client, picture: bytes, model: str) -> str:
    answer = client.post(f"/v1/jobs?model={model}", content=picture, headers=JPEG)
    assert answer.status_code == 202
    return str(answer.json()["id"])


def finished(client: httpx.Client, job: str) -> bool:
    return bool(client.get(f"/v1/jobs/{job}").json()["finished_at"])


def test_a_finished_job_is_told_fetched_and_deleted(
    platform: Platform, client: httpx.Client, jpeg: bytes, tmp_path: Path
) -> None:
    job = submitted(client, jpeg, "cut")
    wait_until(lambda: finished(client, job))
    canceled = matte(platform, "jobs", "cancel", job)
    assert (canceled.returncode, "succeeded already" in canceled.stderr) == (1, True)
    out = tmp_path / "cut.png"
    assert matte(platform, "jobs", "result", job, "-o", str(out)).returncode == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert matte(platform, "jobs", "result", job, "-o", str(out)).returncode == 2
    assert matte(platform, "jobs", "delete", job).returncode == 0
    assert client.get(f"/v1/jobs/{job}").status_code == 404


def test_lists_have_jobs_in_every_state(platform: Platform, client: httpx.Client, jpeg: bytes) -> None:
    waiting, done, lost = (submitted(client, jpeg, model) for model in ("asleep", "cut", "broken"))
    wait_until(lambda: finished(client, done) and finished(client, lost))
    listed = json.loads(matte(platform, "jobs", "list", "--json", "--limit", "10000").stdout)
    states = {view["id"]: view["state"] for view in listed}
    assert [states[job] for job in (waiting, done, lost)] == ["queued", "succeeded", "failed"]
    queued = json.loads(matte(platform, "jobs", "list", "--json", "--state", "queued").stdout)
    assert waiting in {view["id"] for view in queued}
    assert {view["state"] for view in queued} == {"queued"}
    kept = matte(platform, "jobs", "delete", waiting)
    assert (kept.returncode, "matte jobs cancel" in kept.stderr) == (1, True)
    assert "cancel" in matte(platform, "jobs", "cancel", waiting).stdout
    assert client.get(f"/v1/jobs/{waiting}").json()["state"] == "canceled"
