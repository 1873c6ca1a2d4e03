"""Iterating a call gives the same as with a stock Gradio generator, item by item."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.client import Job
from gradio_client.utils import OutputUpdate
from integration.frontend.conftest import Platform
from integration.frontend.processes import Process, environment, running
from integration.frontend.test_gradio import image, upload
from integration.frontend.test_node import NODE

pytestmark = pytest.mark.integration
STOCK = Path(__file__).with_name("stock_gradio.py")


@pytest.fixture(scope="module")
def stock_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("stock") / "gradio.log"
    process = Process([sys.executable, str(STOCK), str(port)], environment("", ""), "Running on local URL", log)
    with running(process):
        assert process.line
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=["python", "async", "call", "node"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kinds(values: object) -> list[str]:
    """The endings of the files among a client's values: each is preview.webp or result.png."""
    assert isinstance(values, list)
    return [Path(value["path"] if isinstance(value, dict) else value).suffix for value in values]


def seen(url: str, picture: Path, folder: Path, way: str) -> dict[str, Any]:
    """What a client gets that iterates a call in one of four ways."""
    if way == "node":
        return in_node(url, picture)
    if way == "call":
        return by_curl(url, picture)
    client = Client(url, verbose=False, analytics_enabled=False, download_files=str(folder))
    try:
        job = client.submit(handle_file(str(picture)), "slow", api_name="/remove_background")
        return asyncio.run(updates(job)) if way == "async" else iterated(job)
    finally:
        client.close()


def iterated(job: Job) -> dict[str, Any]:
    items = list(job)
    return {
        "items": kinds(items), "outputs": kinds(job.outputs()), "result": kinds([job.result(timeout=30)]),
        "again": kinds(list(job)), "done": job.done(), "code": job.status().code.name,
    }  # fmt: skip


async def updates(job: Job) -> dict[str, Any]:
    found = [update async for update in job if isinstance(update, OutputUpdate)]
    values = [update.outputs["data"] if isinstance(update.outputs, dict) else [update.outputs] for update in found]
    return {"values": [kinds(v) for v in values], "final": [(u.final, u.success) for u in found]}


def by_curl(url: str, picture: Path) -> dict[str, Any]:
    with httpx.Client(base_url=url, timeout=30) as client:
        body = {"data": [image(upload(client, picture.read_bytes())), "slow"]}
        call_id = client.post("/gradio_api/call/remove_background", json=body).json()["event_id"]
        text = client.get(f"/gradio_api/call/remove_background/{call_id}").text
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    messages = [(b[0], json.loads(b[1].removeprefix("data: "))) for b in blocks if b[0] != "event: heartbeat"]
    return {"events": [(event, kinds(data)) for event, data in messages]}


def in_node(url: str, picture: Path) -> dict[str, Any]:
    if shutil.which("node") is None or not (NODE / "node_modules/@gradio/client").is_dir():
        pytest.skip("node and @gradio/client are not installed")
    done = subprocess.run(
        ["node", "iterate.mjs", url, str(picture)], cwd=NODE, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"data": kinds(found["data"]), "stages": found["stages"]}


def test_as_stock(platform: Platform, stock_url: str, jpeg_file: Path, tmp_path: Path, way: str) -> None:
    stock = seen(stock_url, jpeg_file, tmp_path, way)
    assert ".webp" in str(stock), "the stock generator shows a preview"
    assert ".png" in str(stock), "and its result"
    assert seen(platform.url, jpeg_file, tmp_path, way) == stock
