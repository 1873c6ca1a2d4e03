"""Install, and use it as each kind of client does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import httpx
import pytest
from e2e.kube import Kube, until
from e2e.phases import Phases
from e2e.traffic import picture, predict, wrong
from gradio_client import Client, handle_file

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.mark.usefixtures("release")
def test_it_installs_and_cuts_out(kube: Kube, phases: Phases) -> None:
    with phases("helm test"):
        kube.helm("test", "matte")
    pods = kube.get("pods")["items"]
    restarts = {
        pod["metadata"]["name"]: status["restartCount"]
        for pod in pods
        for status in pod["status"].get("containerStatuses", [])
        if status["restartCount"]
    }
    assert restarts == {}


def test_rest_answers_at_once_and_later(release: str) -> None:
    with httpx.Client(base_url=release, timeout=60) as client:
        assert wrong(predict(client, "/predict")) == ""
        admitted = client.post("/v1/jobs", content=picture(), headers={"Content-Type": "image/png"})
        assert admitted.status_code == 202
        job = f"/v1/jobs/{admitted.json()['id']}"
        until(lambda: client.get(job).json()["state"] == "succeeded", 60, "the job's end")
        assert wrong(client.get(f"{job}/result").raise_for_status().content) == ""


def test_gradio_client_gets_its_file(release: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(picture())
        file.flush()
        client = Client(release, verbose=False, download_files=tempfile.mkdtemp())
        cutout = client.predict(handle_file(file.name), api_name="/remove_background")
    assert wrong(Path(cutout).read_bytes()) == ""
