"""The stock Python client through a round robin that is not sticky."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from integration.frontend.conftest import Platform, blank, photo
from integration.frontend.processes import wait_until
from PIL import Image

pytestmark = pytest.mark.integration
API = "/gradio_api"


@pytest.fixture
def stock(platform: Platform, tmp_path: Path) -> Iterator[Client]:
    client = Client(platform.url, verbose=False, analytics_enabled=False, download_files=str(tmp_path / "down"))
    yield client
    client.close()


def both_served(platform: Platform, since: int) -> bool:
    return len(set(platform.proxy.served[since:])) == 2


def upload(client: httpx.Client, jpeg: bytes, name: str = "a.jpg") -> str:
    answer = client.post(f"{API}/upload", files={"files": (name, jpeg)})
    assert answer.status_code == 200, answer.text
    path: str = answer.json()[0]
    return path


def image(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def lines(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line:
            assert line.startswith("data: ")
            yield json.loads(line[6:])


class TestStockClient:
    def test_predict(self, platform: Platform, stock: Client, jpeg_file: Path) -> None:
        since = len(platform.proxy.served)
        path = stock.predict(handle_file(str(jpeg_file)), api_name="/remove_background")
        with Image.open(path) as picture:
            assert (picture.size, picture.mode, picture.format) == ((320, 240), "RGBA", "PNG")
        assert both_served(platform, since)

    def test_many_times(self, stock: Client, jpeg_file: Path) -> None:
        jobs = [
            stock.submit(handle_file(str(jpeg_file)), format="webp", api_name="/remove_background") for _ in range(10)
        ]
        for job in jobs:
            with Image.open(job.result(timeout=30)) as picture:
                assert (picture.mode, picture.format) == ("RGBA", "WEBP")

    def test_the_file_says_how_sure_the_mask_is(self, platform: Platform, tmp_path: Path) -> None:
        """To clients that take the file as data, as Gradio's in JavaScript does."""
        client = Client(platform.url, verbose=False, analytics_enabled=False, download_files=False)
        metadata = []
        for name, data in (("photo.jpg", photo()), ("blank.jpg", blank())):
            path = tmp_path / name
            path.write_bytes(data)
            metadata.append(client.predict(handle_file(str(path)), api_name="/remove_background")["meta"])
        client.close()
        found, none = metadata
        assert (found["_type"], found["foreground"], 0 < found["uncertainty"] < 1) == ("gradio.FileData", "found", True)
        assert (none["foreground"], none["uncertainty"]) == ("none", 0)

    def test_segment_by_version(self, stock: Client, jpeg_file: Path) -> None:
        path = stock.predict(handle_file(str(jpeg_file)), "cut", "1", api_name="/segment")
        with Image.open(path) as picture:
            assert picture.mode == "L"

    def test_preview_comes_first(self, stock: Client, jpeg_file: Path) -> None:
        job = stock.submit(handle_file(str(jpeg_file)), model="slow", api_name="/remove_background")
        preview = next(iter(job))
        final = job.result(timeout=30)
        with Image.open(preview) as small, Image.open(final) as large:
            assert (small.format, max(small.size), large.size) == ("WEBP", 64, (320, 240))

    def test_progress_is_told(self, stock: Client, jpeg_file: Path) -> None:
        job = stock.submit(handle_file(str(jpeg_file)), model="slow", api_name="/remove_background")
        stages: set[tuple[str, float]] = set()
        codes = set()
        while not job.done():
            status = job.status()
            codes.add(status.code.name)
            for unit in status.progress_data or []:
                stages.add((str(unit.desc), float(unit.progress or 0)))
            time.sleep(0.02)
        assert ("forward", 0.2) in stages
        assert "PROGRESS" in codes

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"model": "none"}, "There is no model 'none'"),
            ({"model": "broken"}, "always out of memory"),
            ({"bg_color": "nope-ish"}, "bg_color: not a color"),
            ({"version": "9"}, "cut has no version 9"),
        ],
    )
    def test_errors_say_why(self, stock: Client, jpeg_file: Path, arguments: dict[str, str], text: str) -> None:
        with pytest.raises(Exception, match=text) as caught:
            stock.predict(handle_file(str(jpeg_file)), api_name="/remove_background", **arguments)
        assert type(caught.value).__name__ == "AppError"

    def test_not_a_picture(self, stock: Client, tmp_path: Path) -> None:
        path = tmp_path / "page.jpg"
        path.write_bytes(b"<html></html>")
        with pytest.raises(Exception, match=r"^The file looks like a web page\. Send"):
            stock.predict(handle_file(str(path)), api_name="/segment")

    def test_other_addresses_are_not_fetched(self, stock: Client) -> None:
        with pytest.raises(Exception, match="not fetched from other addresses"):
            stock.predict({"path": "http://127.0.0.1:1/a.png", "meta": {"_type": "gradio.FileData"}},
                          api_name="/segment")  # fmt: skip

    def test_cancel_ends_the_job(self, platform: Platform, stock: Client, jpeg_file: Path) -> None:
        job = stock.submit(handle_file(str(jpeg_file)), model="asleep", api_name="/remove_background")
        wait_until(lambda: job.communicator is not None and job.communicator.event_id)
        event_id = job.communicator.event_id
        wait_until(lambda: job.status().rank is not None)
        job.cancel()
        # the client stops waiting by itself, unless the job's own end is quicker
        with pytest.raises((CancelledError, AppError)) as caught:
            job.result(timeout=20)
        assert isinstance(caught.value, CancelledError) or "canceled" in str(caught.value)
        state = httpx.get(f"{platform.url}/v1/jobs/{event_id}").json()["state"]
        assert state == "canceled"

    def test_a_result_is_an_input(self, stock: Client, platform: Platform, jpeg_file: Path) -> None:
        raw = Client(platform.url, verbose=False, analytics_enabled=False, download_files=False)
        first = raw.predict(handle_file(str(jpeg_file)), api_name="/remove_background")
        raw.close()
        assert stock.predict(handle_file(first["url"]), api_name="/segment")


class TestProtocol:
    def join(self, client: httpx.Client, path: str, session: str, model: str) -> str:
        body = {"data": [image(path), model], "fn_index": 0, "session_hash": session}
        answer = client.post(f"{API}/queue/join", json=body)
        assert answer.status_code == 200, answer.text
        event_id: str = answer.json()["event_id"]
        return event_id

    def test_a_reader_that_drops_gets_everything_again(self, client: httpx.Client, jpeg: bytes) -> None:
        session = uuid.uuid4().hex
        event_id = self.join(client, upload(client, jpeg), session, "slow")
        params = {"session_hash": session}
        with client.stream("GET", f"{API}/queue/data", params=params) as answer:
            for message in lines(answer):
                if message["msg"] == "process_starts":
                    break  # and away
        with client.stream("GET", f"{API}/queue/data", params=params) as answer:
            messages = list(lines(answer))
        kinds = [m["msg"] for m in messages if m["msg"] != "heartbeat"]
        assert kinds[0] == "estimation"
        assert "process_starts" in kinds
        assert kinds[-2:] == ["process_completed", "close_stream"]
        done = messages[-2]
        assert (done["event_id"], done["success"]) == (event_id, True)
        url = done["output"]["data"][0]["url"]
        assert url == f"{str(client.base_url).rstrip('/')}/gradio_api/file=jobs/{event_id}/result.png"
        # acknowledged: nothing comes a second time
        again = client.get(f"{API}/queue/data", params=params)
        assert [m["msg"] for m in lines(again)] == ["close_stream"]

    def test_finished_while_nobody_read(self, client: httpx.Client, jpeg: bytes) -> None:
        session = uuid.uuid4().hex
        event_id = self.join(client, upload(client, jpeg), session, "cut")
        wait_until(lambda: client.get(f"/v1/jobs/{event_id}").json()["state"] == "succeeded")
        kinds = [m["msg"] for m in lines(client.get(f"{API}/queue/data", params={"session_hash": session}))]
        assert kinds[-2:] == ["process_completed", "close_stream"]

    def test_calls_made_while_a_reader_reads(self, client: httpx.Client, jpeg: bytes) -> None:
        session, path = uuid.uuid4().hex, upload(client, jpeg)
        first = self.join(client, path, session, "slow")
        ends = []
        with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as answer:
            more: list[str] = []
            for message in lines(answer):
                if not more:
                    more = [self.join(client, path, session, "cut") for _ in range(3)]
                if message["msg"] == "process_completed":
                    ends.append(message["event_id"])
        assert sorted(ends) == sorted([first, *more])

    def test_heartbeats(self, client: httpx.Client, jpeg: bytes) -> None:
        session = uuid.uuid4().hex
        event_id = self.join(client, upload(client, jpeg), session, "asleep")
        with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as answer:
            for message in lines(answer):
                if message["msg"] == "heartbeat":
                    client.delete(f"/v1/jobs/{event_id}")
                if message["msg"] == "process_completed":
                    assert "canceled" in message["output"]["error"]
                    break

    def test_a_stranger_cannot_cancel(self, client: httpx.Client, jpeg: bytes) -> None:
        event_id = self.join(client, upload(client, jpeg), uuid.uuid4().hex, "asleep")
        body = {"session_hash": uuid.uuid4().hex, "event_id": event_id, "fn_index": 0}
        assert client.post(f"{API}/cancel", json=body).status_code == 404
        assert client.get(f"/v1/jobs/{event_id}").json()["state"] == "queued"
        client.delete(f"/v1/jobs/{event_id}")

    def test_call_and_its_events(self, client: httpx.Client, jpeg: bytes) -> None:
        path = upload(client, jpeg)
        for url, body in (
            ("call/remove_background", {"data": [image(path), "slow"]}),
            ("call/v2/remove_background", {"image": image(path), "model": "slow"}),
        ):
            event_id = client.post(f"{API}/{url}", json=body).json()["event_id"]
            text = client.get(f"{API}/{url}/{event_id}").text
            events = [block.splitlines() for block in text.strip().split("\n\n")]
            named = [(e[0], json.loads(e[1].removeprefix("data: "))) for e in events]
            assert [name for name, _ in named] == ["event: generating"] * 2 + ["event: complete"]
            file = client.get(f"{API}/file={named[-1][1][0]['path']}")
            assert file.headers["content-type"] == "image/png"
            assert file.headers["x-content-type-options"] == "nosniff"
        event_id = client.post(f"{API}/call/segment", json={"data": [image(path), "broken"]}).json()["event_id"]
        assert "event: error" in client.get(f"{API}/call/segment/{event_id}").text

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/gradio_api/run/remove_background"),
            ("POST", "/gradio_api/api/remove_background"),
            ("GET", "/monitoring"),
            ("GET", "/monitoring/summary"),
            ("GET", "/redoc"),
            ("GET", "/gradio_api/file=/etc/passwd"),
            ("GET", "/gradio_api/file=uploads/" + "0" * 32 + "/a.png"),
            ("GET", "/gradio_api/file=uploads/../../etc/passwd"),
            ("GET", "/gradio_api/proxy=http://127.0.0.1/"),
            ("POST", "/gradio_api/component_server"),
            ("GET", "/gradio_api/dev/reload"),
            ("GET", "/gradio_api/vibe-code"),
            ("POST", "/login"),
            ("GET", "/gradio_api/queue/status"),
            ("GET", "/gradio_api/call/nothing/1"),
        ],
    )
    def test_closed(self, client: httpx.Client, method: str, path: str) -> None:
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")

    def test_uploads_are_bounded_and_inert(self, client: httpx.Client) -> None:
        page = upload(client, b"<script>alert(1)</script>", "../../x.html")
        assert page.endswith("/x.html")
        served = client.get(f"{API}/file={page}")
        assert served.headers["content-type"] == "application/octet-stream"
        assert served.headers["content-security-policy"].startswith("sandbox")
        large = client.post(f"{API}/upload", files={"files": ("a.jpg", b"\xff" * 30_000_001)})
        assert large.status_code == 413
        assert client.post(f"{API}/upload", files={"other": ("a.jpg", b"1")}).status_code == 422

    def test_description_is_the_same_everywhere(self, platform: Platform) -> None:
        infos = [httpx.get(f"{g.url}{API}/info").json() for g in platform.frontends]
        assert infos[0] == infos[1]
        assert set(infos[0]["named_endpoints"]) == {"/remove_background", "/segment"}
        ids = {httpx.get(f"{g.url}/config").json()["app_id"] for g in platform.frontends}
        ids |= {httpx.get(f"{g.url}{API}/app_id").json()["app_id"] for g in platform.frontends}
        assert len(ids) == 1
