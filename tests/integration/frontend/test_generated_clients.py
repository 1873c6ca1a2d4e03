"""Clients generated from ``/openapi.json`` cut a picture: raw, in a form, and as a job."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from integration.frontend.conftest import Platform
from openapi_spec_validator import validate
from PIL import Image

NODE = Path(__file__).parents[2] / "node"
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def document(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated") / "openapi.json"
    path.write_bytes(httpx.get(f"{platform.url}/openapi.json").content)
    return path


def test_the_document_is_valid(document: Path) -> None:
    validate(json.loads(document.read_text()))


class Generated:
    """The generated Python package. A fresh module tree: nothing of it is known to the type checker."""

    def __init__(self, url: str) -> None:
        self.types = self.module("types")
        self.models = self.module("models")
        self.client = self.module("client").Client(base_url=url, raise_on_unexpected_status=True)

    @staticmethod
    def module(name: str) -> Any:
        found: ModuleType = importlib.import_module(f"matte_generated.{name}")
        return found

    def call(self, operation: str, *positional: object, **arguments: object) -> Any:
        return self.module(f"api.{operation}").sync(*positional, client=self.client, **arguments)

    def file(self, picture: bytes) -> Any:
        return self.types.File(payload=io.BytesIO(picture), file_name="a.jpg", mime_type="image/jpeg")


@pytest.fixture(scope="module")
def python(platform: Platform, document: Path) -> Iterator[Generated]:
    package = document.parent / "python" / "matte_generated"
    config = document.with_name("config.json")
    config.write_text(json.dumps({"post_hooks": []}))
    command = [
        str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--path", str(document), "--meta",
        "none", "--output-path", str(package), "--config", str(config),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    unknown = {line for line in done.stdout.splitlines() if line.startswith(("Unsupported", "Unable", "Error"))}
    assert unknown <= {"Unsupported content type image/*"}, "application/octet-stream is there for it"
    sys.path.insert(0, str(package.parent))
    try:
        yield Generated(platform.url)
    finally:
        sys.path.remove(str(package.parent))


def kind(file: Any) -> tuple[str | None, str, tuple[int, int]]:
    opened = Image.open(file.payload)
    return opened.format, opened.mode, opened.size


class TestPython:
    def test_raw(self, python: Generated, jpeg: bytes) -> None:
        assert kind(python.call("predict.predict", body=python.file(jpeg))) == ("PNG", "RGBA", (320, 240))
        mask = python.call("predict.predict", body=python.file(jpeg), output=python.models.PredictOutput.MASK)
        assert kind(mask) == ("PNG", "L", (320, 240))

    def test_form(self, python: Generated, jpeg: bytes) -> None:
        form = python.models.Form(
            image=python.file(jpeg), format_=python.models.FormFormat.WEBP, crop=False, bg_color="#fff"
        )  # fmt: skip
        assert kind(python.call("predict.predict", body=form))[0] == "WEBP"

    def test_job_and_result(self, python: Generated, jpeg: bytes) -> None:
        form = python.models.Form(image=python.file(jpeg), model="slow", output=python.models.FormOutput.BOTH)
        job = python.call("jobs.create_job", body=form, prefer="preview")
        assert (job.state, job.model) == (python.models.JobState.QUEUED, "slow") or job.state == "running"
        events = httpx.get(f"{python.client._base_url}{job.links['events']}", timeout=30)
        assert "event: finished" in events.text
        assert python.call("jobs.read_job", job.id).state == python.models.JobState.SUCCEEDED
        mask = python.models.JobResultFile.MASK
        assert kind(python.call("jobs.job_result", job.id, file=mask)) == ("PNG", "L", (320, 240))

    def test_problem(self, python: Generated, jpeg: bytes) -> None:
        found = python.call("predict.predict", body=python.file(jpeg), model="none")
        assert (found.status, found.code) == (404, python.models.ProblemCode.MODEL_NOT_FOUND)


@pytest.mark.skipif(shutil.which("node") is None or shutil.which("npm") is None, reason="node is not installed")
class TestTypeScript:
    def test_checks_and_cuts(self, platform: Platform, document: Path, jpeg_file: Path) -> None:
        """The types are generated, the program is checked against them, and then it runs."""
        if not (NODE / "node_modules/openapi-typescript").is_dir():
            install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(install, cwd=NODE, check=True, timeout=300, capture_output=True)
        command = ["node", "generated.mjs", str(document), platform.url, str(jpeg_file)]
        done = subprocess.run(
            command, cwd=NODE, capture_output=True, text=True, timeout=120, check=False, env=os.environ
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen = json.loads(done.stdout.splitlines()[-1])
        assert seen == {
            "raw": "image/png", "form": "image/webp", "job": "succeeded", "mask": "image/png",
            "problem": "model_not_found",
        }  # fmt: skip
