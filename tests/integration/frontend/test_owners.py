"""What is one owner's does not exist for another, whichever way he asks for it."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from integration.frontend.conftest import Platform, photo
from integration.frontend.processes import FrontendProcess, ready, running, wait_until

pytestmark = pytest.mark.integration
JPEG = {"Content-Type": "image/jpeg"}
API = "/gradio_api"
OWNER, OTHERS = "blue/ann", ("", "blue", "blue/bob", "red/ann")


@pytest.fixture(scope="module")
def url(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A frontend that knows its callers by a header."""
    script = str(Path(__file__).with_name("identified.py"))
    frontend = FrontendProcess(platform.env, tmp_path_factory.mktemp("owners") / "log", [sys.executable, script])
    with running(frontend):
        wait_until(lambda: ready(frontend.url))
        yield frontend.url


def caller(url: str, name: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"X-Test-Owner": name} if name else {}, timeout=30)


@pytest.fixture
def owner(url: str) -> Iterator[httpx.Client]:
    with caller(url, OWNER) as client:
        yield client


@pytest.fixture(params=OTHERS)
def other(url: str, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with caller(url, request.param) as client:
        yield client


def test_jobs(owner: httpx.Client, other: httpx.Client, jpeg: bytes) -> None:
    job = owner.post("/v1/predict", content=jpeg, headers=JPEG).headers["x-job-id"]
    paths = [f"/v1/jobs/{job}{end}" for end in ("", "/events", "/result")]
    paths += [f"{API}/call/segment/{job}", f"{API}/file=jobs/{job}/result.png", f"{API}/file=jobs/{job}/preview.webp"]
    assert [other.get(path).json()["code"] for path in paths] == ["job_not_found"] * len(paths)
    assert other.delete(paths[0]).json()["code"] == "job_not_found"
    assert [owner.get(path).status_code for path in paths[:3]] == [200, 200, 200]


def test_idempotency_keys(owner: httpx.Client, other: httpx.Client, jpeg: bytes) -> None:
    headers = JPEG | {"Idempotency-Key": f"order-{uuid.uuid4()}"}
    first = owner.post("/v1/predict", content=jpeg, headers=headers)
    same = other.post("/v1/predict", content=jpeg, headers=headers)
    assert (same.status_code, same.headers["x-job-id"] == first.headers["x-job-id"]) == (200, False)
    assert owner.post("/v1/predict", content=jpeg, headers=headers).headers["x-job-id"] == first.headers["x-job-id"]
    reused = owner.post("/v1/predict", content=photo(300, 200), headers=headers)
    assert (reused.status_code, first.headers["x-job-id"] in reused.text) == (422, False)


def messages(client: httpx.Client, session: str) -> list[dict[str, Any]]:
    text = client.get(f"{API}/queue/data", params={"session_hash": session}).text
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]


def test_uploads_and_sessions(owner: httpx.Client, other: httpx.Client, jpeg: bytes) -> None:
    path = owner.post(f"{API}/upload", files={"files": ("a.jpg", jpeg)}).json()[0]
    assert (owner.get(f"{API}/file={path}").content, other.get(f"{API}/file={path}").status_code) == (jpeg, 404)
    session = uuid.uuid4().hex
    body = {"data": [{"path": path}], "fn_index": 0, "session_hash": session}
    event = owner.post(f"{API}/queue/join", json=body).json()["event_id"]
    assert other.post(f"{API}/cancel", json={"session_hash": session, "event_id": event}).status_code == 404
    assert [message["msg"] for message in messages(other, session)] == ["close_stream"]
    stolen = other.post(f"{API}/call/segment", json={"data": [{"path": path}]})
    assert (stolen.status_code, stolen.json()["code"]) == (404, "not_found")
    ends = [message for message in messages(owner, session) if message["msg"] == "process_completed"]
    assert [(end["event_id"], end["success"]) for end in ends] == [(event, True)]
