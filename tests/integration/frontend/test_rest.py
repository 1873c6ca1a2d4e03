from __future__ import annotations

import base64
import io
import json
import socket
import zipfile

import httpx
import pytest
from integration.frontend.conftest import Platform, blank, photo
from PIL import Image

pytestmark = pytest.mark.integration
JPEG = {"Content-Type": "image/jpeg"}


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    document: dict[str, object] = answer.json()
    assert document["code"] == code
    assert document["status"] == status
    assert document["detail"]
    return document


class TestPredict:
    def test_picture_in_picture_out(self, client: httpx.Client, jpeg: bytes) -> None:
        answer = client.post("/models/cut/predict", content=jpeg, headers=JPEG)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        picture = opened(answer.content)
        assert (picture.size, picture.mode) == ((320, 240), "RGBA")
        assert picture.getchannel("A").getextrema() == (0, 255)
        assert answer.headers["x-model"] == "cut"
        assert answer.headers["x-model-version"] == "2.0.0"
        assert answer.headers["x-model-digest"] == "sha256:0"
        assert "forward;dur=" in answer.headers["server-timing"]
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers["x-job-id"]) == 32

    @pytest.mark.parametrize(
        ("query", "model", "version"),
        [("", "cut", "2.0.0"), ("?version=1", "cut", "1.0.0"), ("?model=split&version=1.1", "split", "1.1.0")],
    )
    def test_default_model_by_its_split(
        self, client: httpx.Client, jpeg: bytes, query: str, model: str, version: str
    ) -> None:
        """A model's split decides which version answers: no major version is pinned."""
        answer = client.post(f"/predict{query}", content=jpeg, headers=JPEG)
        assert answer.status_code == 200, answer.text
        assert (answer.headers["x-model"], answer.headers["x-model-version"]) == (model, version)

    @pytest.mark.parametrize(("path", "version"), [("/v1/predict", "1.0.0"), ("/v2/predict", "2.0.0")])
    def test_major_pins(self, client: httpx.Client, jpeg: bytes, path: str, version: str) -> None:
        answer = client.post(path, content=jpeg, headers=JPEG)
        assert (answer.status_code, answer.headers.get("x-model-version")) == (200, version)

    @pytest.mark.parametrize("asked", ["1", "v1", "1.0", "1.0.0"])
    def test_version_pins(self, client: httpx.Client, jpeg: bytes, asked: str) -> None:
        answer = client.post("/models/cut/predict", params={"version": asked}, content=jpeg, headers=JPEG)
        assert answer.headers["x-model-version"] == "1.0.0"

    def test_form_with_options(self, client: httpx.Client, jpeg: bytes) -> None:
        files = {"image": ("a.jpg", jpeg, "image/jpeg"), "bg_image": ("b.png", photo(kind="PNG"), "image/png")}
        answer = client.post("/v2/predict", files=files, data={"format": "webp"})
        assert answer.headers["content-type"] == "image/webp", answer.text
        assert opened(answer.content).size == (320, 240)

    def test_json_both_ways(self, client: httpx.Client, jpeg: bytes) -> None:
        body = {"image_b64": base64.b64encode(jpeg).decode(), "output": "both"}
        answer = client.post("/v1/predict", json=body, headers={"Accept": "application/json"})
        document = answer.json()
        assert set(document) == {
            "id", "model", "version", "digest", "arm", "width", "height", "foreground", "uncertainty", "timings",
            "result_b64", "mask_b64",
        }  # fmt: skip
        assert opened(base64.b64decode(document["mask_b64"])).mode == "L"
        assert (document["version"], document["width"], document["height"]) == ("1.0.0", 320, 240)

    def test_it_says_how_sure_the_mask_is(self, client: httpx.Client, jpeg: bytes) -> None:
        picture = client.post("/predict", content=jpeg, headers=JPEG)
        assert picture.headers["x-matte-foreground"] == "found"
        job = client.get(f"/v1/jobs/{picture.headers['x-job-id']}").json()["result"]
        assert (job["foreground"], 0 < job["uncertainty"] < 1) == ("found", True)
        assert picture.headers["x-matte-uncertainty"] == f"{job['uncertainty']:.2f}" != "0.00"
        document = client.post("/predict", content=jpeg, headers=JPEG | {"Accept": "application/json"}).json()
        assert (document["foreground"], document["uncertainty"]) == ("found", job["uncertainty"])

    def test_it_says_that_there_is_no_subject(self, client: httpx.Client) -> None:
        answer = client.post("/predict", content=blank(), headers=JPEG)
        assert (answer.headers["x-matte-foreground"], answer.headers["x-matte-uncertainty"]) == ("none", "0.00")
        document = client.post("/predict", content=blank(), headers=JPEG | {"Accept": "application/json"}).json()
        assert (document["foreground"], document["uncertainty"]) == ("none", 0)

    def test_both_is_a_stored_archive(self, client: httpx.Client, jpeg: bytes) -> None:
        answer = client.post("/v1/predict", params={"output": "both"}, content=jpeg, headers=JPEG)
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.namelist() == ["cutout.png", "mask.png"]
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
            assert opened(archive.read("cutout.png")).mode == "RGBA"

    def test_respond_async(self, client: httpx.Client, jpeg: bytes) -> None:
        answer = client.post("/v1/predict", content=jpeg, headers=JPEG | {"Prefer": "respond-async"})
        assert answer.status_code == 202
        assert answer.headers["preference-applied"] == "respond-async"
        assert answer.headers["location"] == answer.json()["links"]["self"]

    def test_wait_is_kept(self, client: httpx.Client, jpeg: bytes) -> None:
        headers = JPEG | {"Prefer": "respond-async, wait=0"}
        answer = client.post("/models/asleep/predict", content=jpeg, headers=headers)
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        quick = client.post("/v1/predict", content=jpeg, headers=JPEG | {"Prefer": "wait=20"})
        assert quick.status_code == 200

    def test_failed_job_answers_with_its_problem(self, client: httpx.Client, jpeg: bytes) -> None:
        document = problem(
            client.post("/models/broken/predict", content=jpeg, headers=JPEG), 503, "out_of_memory"
        )  # fmt: skip
        assert document["detail"] == "The test's model is always out of memory."
        assert document["job"]

    def test_ids_come_back(self, client: httpx.Client, jpeg: bytes) -> None:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = JPEG | {"X-Request-Id": "mine-1", "traceparent": parent}
        answer = client.post("/v1/predict", content=jpeg, headers=headers)
        assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("mine-1", parent)
        odd = client.get("/v1/limits", headers={"X-Request-Id": "a b", "traceparent": "00-0-0-01"})
        assert odd.headers["x-request-id"] != "a b"
        assert len(odd.headers["traceparent"]) == len(parent)


class TestRefusals:
    def test_unknown_parameter_is_named(self, client: httpx.Client, jpeg: bytes) -> None:
        document = problem(
            client.post("/v1/predict", params={"color": "red"}, content=jpeg, headers=JPEG), 422, "unknown_parameter"
        )
        assert document["parameter"] == "color"
        assert "bg_color" in document["allowed"]  # type: ignore[operator]

    def test_bad_values_are_listed(self, client: httpx.Client, jpeg: bytes) -> None:
        params = {"format": "gif", "bg_color": "mauve-ish", "crop": "perhaps"}
        document = problem(
            client.post("/v1/predict", params=params, content=jpeg, headers=JPEG), 422, "invalid_parameter"
        )
        assert {e["parameter"] for e in document["errors"]} == set(params)  # type: ignore[attr-defined]

    def test_twice_the_same_parameter(self, client: httpx.Client, jpeg: bytes) -> None:
        url = "/v1/predict?format=png&format=webp"
        problem(client.post(url, content=jpeg, headers=JPEG), 422, "invalid_parameter")

    def test_equal_twice_is_no_contradiction(self, client: httpx.Client, jpeg: bytes) -> None:
        """Generated clients send options in the query and in the body."""
        files = {"image": ("a.jpg", jpeg, "image/jpeg")}
        query = {"format": "webp", "crop": "true", "bg_color": "white", "version": "1"}
        form = {"format": "webp", "crop": "True", "bg_color": "#fff", "version": "1"}
        assert client.post("/predict", params=query, files=files, data=form).status_code == 200
        body = form | {"crop": True, "image_b64": base64.b64encode(jpeg).decode()}
        assert client.post("/predict", params=query, json=body).status_code == 200
        document = problem(client.post("/predict", params=query, json=body | {"crop": False}), 422, "invalid_parameter")
        assert "crop is given more than once" in str(document["detail"])

    def test_json_has_types(self, client: httpx.Client, jpeg: bytes) -> None:
        """A value that the description does not allow is refused, not guessed at; null is as good as nothing."""
        body: dict[str, object] = {"image_b64": base64.b64encode(jpeg).decode()}
        wrong: dict[str, object] = {"crop": "0", "crop_margin": 30, "version": 1, "model": [], "hints": True}
        document = problem(client.post("/predict", json=body | wrong), 422, "invalid_parameter")
        errors = document["errors"]
        assert isinstance(errors, list)
        assert {error["parameter"] for error in errors} == set(wrong)
        nothing = dict.fromkeys(("model", "version", "crop_margin", "bg_color", "hints"))
        assert client.post("/predict", json=body | nothing).status_code == 200

    @pytest.mark.parametrize(
        ("content", "kind", "status", "code"),
        [
            (b"", "image/jpeg", 422, "picture_empty"),
            (b"", "", 422, "picture_missing"),
            (b"<html></html>", "image/png", 415, "not_a_picture"),
            (b"x=1", "application/x-www-form-urlencoded", 415, "unsupported_format"),
            (b"{", "application/json", 400, "malformed_request"),
            (b"[]", "application/json", 400, "malformed_request"),
            (b"{}", "application/json", 422, "picture_missing"),
            (b'{"image_b64": "***"}', "application/json", 422, "invalid_parameter"),
            (b'{"image_b64": 7}', "application/json", 422, "invalid_parameter"),
            (b"nothing", "multipart/form-data", 400, "malformed_request"),
            (b"nothing", "multipart/form-data; boundary=x", 400, "malformed_request"),
        ],
    )
    def test_bodies(self, client: httpx.Client, content: bytes, kind: str, status: int, code: str) -> None:
        headers = {"Content-Type": kind} if kind else {}
        problem(client.post("/v1/predict", content=content, headers=headers), status, code)

    def test_truncated_picture(self, client: httpx.Client, jpeg: bytes) -> None:
        problem(client.post("/v1/predict", content=jpeg[:-200], headers=JPEG), 422, "picture_truncated")

    def test_bad_background(self, client: httpx.Client, jpeg: bytes) -> None:
        files = {"image": ("a.jpg", jpeg), "bg_image": ("b.png", b"<svg")}
        assert client.post("/v1/predict", files=files).status_code == 415

    def test_unknown_file_field(self, client: httpx.Client, jpeg: bytes) -> None:
        files = {"image": ("a.jpg", jpeg), "photo": ("b.jpg", jpeg)}
        problem(client.post("/v1/predict", files=files), 422, "unknown_parameter")

    def test_announced_size(self, platform: Platform) -> None:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        head += b"Content-Length: 31000000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", platform.frontends[0].port), timeout=10) as raw:
            raw.sendall(head)  # and nothing of the body: the refusal must not wait for it
            answer = raw.recv(65536)
            answer += raw.recv(65536) if b"}" not in answer else b""
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"payload_too_large" in answer

    def test_streamed_size(self, platform: Platform) -> None:
        chunks = (b"\xff" * 1_000_000 for _ in range(33))
        with httpx.Client(base_url=platform.frontends[0].url) as direct:
            problem(direct.post("/v1/predict", content=chunks, headers=JPEG), 413, "payload_too_large")

    def test_missing_things(self, client: httpx.Client, jpeg: bytes) -> None:
        document = problem(client.post("/models/none/predict", content=jpeg, headers=JPEG), 404, "model_not_found")
        assert document["models"] == ["cut", "slow", "broken", "asleep", "split"]
        document = problem(client.post("/v7/predict", content=jpeg, headers=JPEG), 404, "version_not_found")
        assert document["versions"] == ["1.0.0", "2.0.0"]
        problem(client.get("/nowhere"), 404, "not_found")
        problem(client.put("/v1/jobs"), 405, "method_not_allowed")
        problem(client.get("/v1/jobs/none"), 404, "job_not_found")
        problem(client.get("/models/none"), 404, "model_not_found")
        problem(client.get("/models", params={"all": "1"}), 422, "unknown_parameter")


class TestOther:
    def test_catalog(self, client: httpx.Client) -> None:
        catalog = client.get("/models").json()
        assert catalog["default_model"] == "cut"
        assert [m["name"] for m in catalog["models"] if m["ready"]] == ["cut", "slow", "broken", "split"]
        assert client.get("/models/cut").json()["versions"][1]["weight"] == 100

    def test_limits_and_probes(self, client: httpx.Client) -> None:
        assert client.get("/v1/limits").json()["max_bytes"] == 30_000_000
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json()["models"] == ["cut", "slow", "broken", "asleep", "split"]

    def test_idempotency(self, client: httpx.Client, jpeg: bytes) -> None:
        headers = JPEG | {"Idempotency-Key": "order-1"}
        first = client.post("/v1/predict", content=jpeg, headers=headers)
        again = client.post("/v1/predict", content=jpeg, headers=headers)
        assert first.status_code == again.status_code == 200
        assert first.headers["x-job-id"] == again.headers["x-job-id"]
        assert first.content == again.content
        other = client.post("/v1/predict", params={"format": "webp"}, content=jpeg, headers=headers)
        document = problem(other, 422, "idempotency_key_reused")
        assert first.headers["x-job-id"] not in json.dumps(document)
        problem(client.post("/v1/predict", content=jpeg, headers=JPEG | {"Idempotency-Key": "a b"}), 422,
                "invalid_parameter")  # fmt: skip

    def test_admin(self, client: httpx.Client) -> None:
        assert client.get("/admin/dead").json() == {"jobs": []}
        problem(client.post("/admin/dead/none/requeue"), 404, "job_not_found")
        problem(client.get("/admin/jobs?state=lost"), 422, "invalid_parameter")
        problem(client.get("/admin/jobs?cursor=x"), 422, "invalid_parameter")

    def test_openapi_is_served(self, client: httpx.Client) -> None:
        assert json.loads(client.get("/openapi.json").text)["openapi"] == "3.1.0"


class TestAccept:
    """RFC 9110: what a caller accepts, by quality; the picture comes where both are wanted equally."""

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("application/json, text/plain, */*", "image/png"),  # axios
            ("image/png, application/json;q=0.1", "image/png"),
            ("image/*, application/json;q=0", "image/png"),
            ("image/webp", "image/webp"),
            ("image/webp, image/png;q=0.5", "image/webp"),
            ("application/octet-stream", "application/octet-stream"),
            ("application/octet-stream, image/png", "image/png"),  # clients generated from the description
            ("application/json", "application/json"),
            ("application/json, image/*;q=0.9", "application/json"),
        ],
    )
    def test_preferred(self, client: httpx.Client, jpeg: bytes, accept: str, kind: str) -> None:
        answer = client.post("/v1/predict", content=jpeg, headers=JPEG | {"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert "accept" in answer.headers["vary"].lower()
        stored = client.get(f"/v1/jobs/{answer.headers['x-job-id']}/result", headers={"Accept": accept})
        assert stored.headers["content-type"] == kind

    def test_nothing_is_acceptable(self, client: httpx.Client, jpeg: bytes) -> None:
        for params, accept, available in (
            ({}, "text/html", ["image/png", "image/webp", "application/json", "application/octet-stream"]),
            ({"format": "png"}, "image/webp", ["image/png", "application/json", "application/octet-stream"]),
            ({"output": "both"}, "image/*", ["application/zip", "application/json", "application/octet-stream"]),
        ):
            answer = client.post("/v1/predict", params=params, content=jpeg, headers=JPEG | {"Accept": accept})
            assert problem(answer, 406, "not_acceptable")["available"] == available
