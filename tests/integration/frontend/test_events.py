"""REST event streams, resumed elsewhere; draining; what happens to jobs meanwhile."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from integration.frontend.conftest import Platform
from integration.frontend.processes import FrontendProcess, running, wait_until

pytestmark = pytest.mark.integration
JPEG = {"Content-Type": "image/jpeg"}


def submit(client: httpx.Client, jpeg: bytes, model: str) -> dict[str, Any]:
    answer = client.post("/v1/jobs", params={"model": model}, content=jpeg, headers=JPEG)
    assert answer.status_code == 202, answer.text
    view: dict[str, Any] = answer.json()
    return view


def blocks(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Events as dictionaries; a comment is one with the field ``''``."""
    block: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(":")
            block[name] = value.strip()
        elif block:
            yield block
            block = {}


class TestJobs:
    def test_life_of_a_job(self, client: httpx.Client, jpeg: bytes) -> None:
        view = submit(client, jpeg, "slow")
        assert view["links"]["events"] == f"/v1/jobs/{view['id']}/events"
        early = client.get(view["links"]["result"])
        assert (early.status_code, early.json()["code"]) == (409, "job_not_finished")
        assert int(early.headers["retry-after"]) >= 1
        with client.stream("GET", view["links"]["events"]) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            kinds = [block.get("event") for block in blocks(answer)]
        assert kinds[0] == "queued"
        assert kinds[-1] == "finished"
        assert "started" in kinds
        assert kinds.count("progress") == 4
        done = client.get(view["links"]["self"]).json()
        assert (done["state"], done["version"], done["position"]) == ("succeeded", "1.0.0", None)
        result = client.get(view["links"]["result"])
        assert (result.status_code, result.headers["content-type"]) == (200, "image/png")

    def test_mask_of_both(self, client: httpx.Client, jpeg: bytes) -> None:
        view = client.post("/v1/jobs", params={"output": "both"}, content=jpeg, headers=JPEG).json()
        url = view["links"]["result"]
        wait_until(lambda: client.get(url).status_code == 200)
        mask = client.get(url, params={"file": "mask"})
        assert mask.headers["content-type"] == "image/png"
        assert client.get(url).headers["content-type"] == "application/zip"
        assert client.get(url, params={"file": "other"}).json()["code"] == "invalid_parameter"

    def test_resume_on_the_other_frontend(self, platform: Platform, client: httpx.Client, jpeg: bytes) -> None:
        view = submit(client, jpeg, "slow")
        first, second = platform.frontends
        path = view["links"]["events"]
        seen: list[str] = []
        with httpx.stream("GET", first.url + path, timeout=20) as answer:
            for block in blocks(answer):
                seen += [block["id"]] if "id" in block else []
                if block.get("event") == "started":
                    break
        with httpx.stream("GET", second.url + path, headers={"Last-Event-ID": seen[-1]}, timeout=20) as answer:
            rest = list(blocks(answer))
        ids = [block["id"] for block in rest if "id" in block]
        assert not set(ids) & set(seen)
        assert rest[-1]["event"] == "finished"
        everything = [block["id"] for block in blocks(httpx.get(first.url + path)) if "id" in block]
        assert everything == seen + ids
        nothing = httpx.get(first.url + path, headers={"Last-Event-ID": ids[-1]})
        assert nothing.status_code == 204

    def test_position_heartbeat_cancel(self, client: httpx.Client, jpeg: bytes) -> None:
        ahead, view = submit(client, jpeg, "asleep"), submit(client, jpeg, "asleep")
        assert view["position"] == ahead["position"] + 1
        positions, alive = [], 0
        with client.stream("GET", view["links"]["events"]) as answer:
            for block in blocks(answer):
                if block.get("event") == "position":
                    positions.append(json.loads(block["data"])["position"])
                    if len(positions) == 1:
                        client.delete(ahead["links"]["self"])
                if "" in block:
                    alive += 1
                    client.delete(view["links"]["self"])
                last = block
        assert positions == [view["position"], view["position"] - 1]
        assert alive == 1
        assert json.loads(last["data"])["state"] == "canceled"
        gone = client.get(view["links"]["result"])
        assert (gone.status_code, gone.json()["code"]) == (410, "job_canceled")
        assert client.delete(view["links"]["self"]).json()["state"] == "canceled"
        assert client.get(view["links"]["self"]).status_code == 404

    def test_a_deleted_job_is_gone_with_its_pictures(self, client: httpx.Client, jpeg: bytes) -> None:
        headers = {"Idempotency-Key": "deleted-1"} | JPEG
        answer = client.post("/v1/predict", content=jpeg, headers=headers)
        job = answer.headers["x-job-id"]
        paths = [f"/v1/jobs/{job}{end}" for end in ("", "/events", "/result")]
        paths += [f"/gradio_api/file=jobs/{job}/{file}.png" for file in ("result", "preview")]
        assert [client.get(path).status_code for path in paths] == [200, 200, 200, 200, 404]
        assert client.delete(paths[0]).json()["state"] == "succeeded"
        assert [client.get(path).json()["code"] for path in paths] == ["job_not_found"] * 5
        assert client.delete(paths[0]).status_code == 404
        again = client.post("/v1/predict", params={"format": "webp"}, content=jpeg, headers=headers)
        assert (again.status_code, again.headers["x-job-id"] == job) == (200, False)

    def test_failed_job(self, client: httpx.Client, jpeg: bytes) -> None:
        view = submit(client, jpeg, "broken")
        wait_until(lambda: client.get(view["links"]["self"]).json()["state"] == "failed")
        assert client.get(view["links"]["self"]).json()["error"]["code"] == "out_of_memory"
        answer = client.get(view["links"]["result"])
        assert (answer.status_code, answer.json()["code"]) == (503, "out_of_memory")

    def test_wait_exceeded_has_links(self, platform: Platform, tmp_path: Path, jpeg: bytes) -> None:
        env = platform.env | {"MATTE_MAX_WAIT_SECONDS": "0.3"}
        impatient = FrontendProcess(env, tmp_path / "impatient.log")
        with running(impatient):
            answer = httpx.post(f"{impatient.url}/models/asleep/predict", content=jpeg, headers=JPEG)
            assert (answer.status_code, answer.json()["code"]) == (504, "wait_exceeded")
            links = answer.json()["links"]
            assert httpx.delete(impatient.url + links["self"]).json()["state"] == "canceled"

    def test_idempotent_jobs_wait_for_the_first(self, client: httpx.Client, jpeg: bytes) -> None:
        headers = JPEG | {"Idempotency-Key": "slow-1"}
        first = client.post("/v1/jobs", params={"model": "slow"}, content=jpeg, headers=headers).json()
        answer = client.post("/models/slow/predict", content=jpeg, headers=headers)
        assert (answer.status_code, answer.headers["x-job-id"]) == (200, first["id"])


class TestDrain:
    @pytest.fixture
    def third(self, platform: Platform, tmp_path: Path) -> Iterator[FrontendProcess]:
        env = platform.env | {"MATTE_DRAIN_SECONDS": "1", "MATTE_SHUTDOWN_SECONDS": "20"}
        process = FrontendProcess(env, tmp_path / "third.log")
        with running(process):
            yield process

    def test_streams_finish_after_sigterm(self, third: FrontendProcess, jpeg: bytes) -> None:
        with httpx.Client(base_url=third.url, timeout=20) as client:
            view = submit(client, jpeg, "slow")
            with client.stream("GET", view["links"]["events"]) as answer:
                found = blocks(answer)
                assert next(found)["event"] == "queued"
                third.child.send_signal(signal.SIGTERM)
                wait_until(lambda: httpx.get(f"{third.url}/readyz").status_code == 503)
                assert httpx.get(f"{third.url}/readyz").json()["code"] == "shutting_down"
                rest = list(found)
        assert rest[-1]["event"] == "finished"
        assert json.loads(rest[-1]["data"])["state"] == "succeeded"
        assert third.child.wait(15) == 0
        assert "Traceback" not in third.log.read_text()

    def test_predict_finishes_after_sigterm(self, third: FrontendProcess, jpeg: bytes) -> None:
        with httpx.Client(base_url=third.url, timeout=20) as client:
            request = client.build_request("POST", "/models/slow/predict", content=jpeg, headers=JPEG)
            third_pid = third.child

            def signal_soon() -> Iterator[bytes]:
                yield jpeg
                third_pid.send_signal(signal.SIGTERM)

            request = client.build_request("POST", "/models/slow/predict", content=signal_soon(), headers=JPEG)
            answer = client.send(request)
        assert answer.status_code == 200, answer.text
        began = time.monotonic()
        third.child.wait(15)
        assert time.monotonic() - began < 10
