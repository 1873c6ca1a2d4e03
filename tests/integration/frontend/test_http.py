"""HTTP as readers other than our own use it: validators, ranges, codings, HTTP/1.0."""

from __future__ import annotations

import base64
import re
import socket
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from integration.frontend.conftest import Platform
from integration.frontend.test_gradio import upload

pytestmark = pytest.mark.integration
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def job(platform: Platform, jpeg: bytes) -> dict[str, Any]:
    """A job with a result."""
    answer = httpx.post(f"{platform.url}/models/cut/predict", content=jpeg, headers=JPEG, timeout=30)
    assert answer.status_code == 200, answer.text
    return {"id": answer.headers["x-job-id"], "result": answer.content}


class TestValidators:
    @pytest.mark.parametrize(
        "path", ["/", "/static/app.js", "/v1/jobs/{id}/result", "/gradio_api/file=jobs/{id}/result.png"]
    )
    def test_what_a_client_has_is_not_sent_again(self, client: httpx.Client, job: dict[str, Any], path: str) -> None:
        path = path.format(id=job["id"])
        first = client.get(path)
        assert first.status_code == 200, first.text
        etag = first.headers["etag"]
        for given in (etag, f'"other", {etag}', f"W/{etag.removeprefix('W/')}", "*"):
            again = client.get(path, headers={"If-None-Match": given})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"].removeprefix("W/") == etag.removeprefix("W/")
            assert again.headers["cache-control"] == first.headers["cache-control"]
        other = client.get(path, headers={"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)
        head = client.head(path)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
        assert head.headers["content-length"] == first.headers["content-length"]

    def test_each_representation_has_its_own(self, client: httpx.Client, job: dict[str, Any]) -> None:
        path = f"/v1/jobs/{job['id']}/result"
        picture, document = (client.get(path, headers={"Accept": kind}) for kind in ("image/png", "application/json"))
        assert picture.headers["etag"] != document.headers["etag"]
        assert base64.b64decode(document.json()["result_b64"]) == picture.content
        wrong = client.get(path, headers={"Accept": "image/png", "If-None-Match": document.headers["etag"]})
        assert wrong.status_code == 200

    def test_not_for_others(self, client: httpx.Client) -> None:
        answer = client.get(f"/v1/jobs/{'0' * 32}/result", headers={"If-None-Match": "*"})
        assert answer.status_code == 404


class TestRanges:
    @pytest.mark.parametrize("path", ["/v1/jobs/{id}/result", "/gradio_api/file=jobs/{id}/result.png"])
    def test_results(self, client: httpx.Client, job: dict[str, Any], path: str) -> None:
        path, whole = path.format(id=job["id"]), job["result"]
        etag = client.get(path).headers["etag"]
        for asked, start, stop in (("0-9", 0, 10), ("100-", 100, len(whole)), ("-7", len(whole) - 7, len(whole))):
            part = client.get(path, headers={"Range": f"bytes={asked}", "If-Range": etag})
            assert (part.status_code, part.content) == (206, whole[start:stop])
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
            assert part.headers["content-type"] == "image/png"
            assert part.headers["etag"] == etag
        for headers in (
            {"Range": "bytes=0-9", "If-Range": '"other"'},
            {"Range": "bytes=0-9", "If-Range": f"W/{etag}"},
            {"Range": "bytes=0-9, 20-29"},
        ):
            assert (answer := client.get(path, headers=headers)).status_code == 200
            assert answer.content == whole
        nothing = client.get(path, headers={"Range": f"bytes={len(whole)}-"})
        assert (nothing.status_code, nothing.json()["code"]) == (416, "range_not_satisfiable")
        assert nothing.headers["content-range"] == f"bytes */{len(whole)}"
        assert client.head(path, headers={"Range": "bytes=0-9"}).status_code == 200

    def test_uploads(self, client: httpx.Client, jpeg: bytes) -> None:
        path = f"/gradio_api/file={upload(client, jpeg)}"
        part = client.get(path, headers={"Range": "bytes=2-3"})
        assert (part.status_code, part.content) == (206, jpeg[2:4])
        assert client.get(path, headers={"If-None-Match": part.headers["etag"]}).status_code == 304


class TestOldReaders:
    """HTTP/1.0 knows no chunks: what has no length ends with the connection."""

    def ask(self, platform: Platform, path: str, *headers: str, method: str = "GET") -> tuple[str, bytes]:
        request = "\r\n".join([f"{method} {path} HTTP/1.0", *headers, "", ""])
        with socket.create_connection(("127.0.0.1", platform.frontends[0].port), timeout=10) as raw:
            raw.sendall(request.encode())
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.decode().lower(), body

    @pytest.mark.parametrize(
        "headers", [(), ("Connection: keep-alive",), ("Host: localhost", "Accept: text/event-stream")]
    )
    def test_events(self, platform: Platform, job: dict[str, Any], headers: tuple[str, ...]) -> None:
        head, body = self.ask(platform, f"/v1/jobs/{job['id']}/events", *headers)
        assert head.startswith("http/1.1 200 ")
        assert "transfer-encoding" not in head
        assert "connection: close" in head
        assert body.startswith(b"id: ")
        assert body.endswith(b"\n\n")
        assert b"event: finished\n" in body
        assert all(block.startswith((b"id: ", b": ")) for block in body.removesuffix(b"\n\n").split(b"\n\n"))

    def test_what_has_a_length(self, platform: Platform, job: dict[str, Any]) -> None:
        head, body = self.ask(platform, f"/v1/jobs/{job['id']}/result", "Accept: image/png")
        assert f"content-length: {len(job['result'])}\r\n" in head
        assert body == job["result"]

    def test_headers_of_a_stream(self, client: httpx.Client, platform: Platform) -> None:
        """HEAD ends at once, also where GET would go on."""
        head, body = self.ask(platform, "/gradio_api/heartbeat/a", method="HEAD")
        assert "content-type: text/event-stream" in head
        assert "content-length" not in head
        assert body == b""
        assert client.head("/gradio_api/heartbeat/a").headers["content-type"].startswith("text/event-stream")


class TestCodings:
    @pytest.mark.parametrize(
        "path", ["/", "/static/app.js", "/static/style.css", "/openapi.json", "/models", "/config"]
    )
    def test_text_is_compressed(self, client: httpx.Client, path: str) -> None:
        for _ in range(100):  # the catalog changes with every picture of the tests beside this one
            plain = client.get(path, headers={"Accept-Encoding": "identity"})
            packed = client.get(path, headers={"Accept-Encoding": "br, gzip"})
            refused = client.get(path, headers={"Accept-Encoding": "gzip;q=0, *"})
            if plain.content == packed.content == refused.content:
                break
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.num_bytes_downloaded < len(plain.content)
        assert packed.content == plain.content == refused.content
        for answer in (plain, refused):
            assert "content-encoding" not in answer.headers
        for answer in (plain, packed, refused):
            assert "accept-encoding" in answer.headers["vary"].lower()
        assert plain.headers.get("etag", "plain") != packed.headers.get("etag", "packed")

    def test_pictures_and_streams_are_not(self, client: httpx.Client, job: dict[str, Any]) -> None:
        for path in (f"/v1/jobs/{job['id']}/result", f"/v1/jobs/{job['id']}/events"):
            for kind in ("*/*", "application/json"):
                answer = client.get(path, headers={"Accept": kind, "Accept-Encoding": "gzip"})
                assert (answer.status_code, "content-encoding" in answer.headers) == (200, False)


class TestVersion:
    def test_version(self, client: httpx.Client) -> None:
        answer = client.get("/version")
        assert answer.json() == {"version": version("matte-frontend"), "revision": "0123abc", "api": ["v1"]}

    def test_icon(self, client: httpx.Client) -> None:
        answer = client.get("/favicon.ico")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")

    def test_docs_are_all_here(self, client: httpx.Client) -> None:
        """No other host, nothing inline; the browser's tests look at the page."""
        page = client.get("/docs")
        assert "'unsafe-inline'" not in page.headers["content-security-policy"]
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(addresses) >= 4
        for address in addresses:
            assert client.get(f"/{address}").status_code == 200, address
