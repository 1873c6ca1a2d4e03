"""A version's folder, and everywhere it can lie."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from integration.registry.standins import HubServer, MlflowServer, OciServer
from matte_registry.settings import RegistrySettings
from safetensors.numpy import save

METADATA = "family: unet\nversion: 1.0.0\nlicense: Apache-2.0\n"


def files_of(seed: int = 0, count: int = 200_000, metadata: str = METADATA) -> dict[str, bytes]:
    """A version's files by path: random weights of ``count`` values, 4 bytes each."""
    values = np.random.default_rng(seed)
    tensors = {"a": values.random((count // 100, 100), np.float32), "b": values.random(100, np.float32)}
    return {
        "matte.yaml": metadata.encode(),
        "config.json": b'{"x": 1}',
        "sub/extra.safetensors": save({"c": np.ones(3, np.float32)}),
        "model.safetensors": save(tensors),
        "README.md": b"# A model",
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "folder", files_of())


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    return RegistrySettings(
        bucket_plain_http=True, cache_dir=tmp_path / "cache", download_block_bytes=64 << 10, download_attempts=3
    )


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        assert isinstance(server, HubServer)
        yield server


@pytest.fixture
def oci() -> Iterator[OciServer]:
    with OciServer().running() as server:
        assert isinstance(server, OciServer)
        yield server


@pytest.fixture
def mlflow() -> Iterator[MlflowServer]:
    pytest.importorskip("mlflow")
    with MlflowServer().running() as server:
        assert isinstance(server, MlflowServer)
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real HTTP S3 endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            httpx.put(f"{url}/models", trust_env=False)
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait()


@pytest.fixture
def s3(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of its own in the bucket; the endpoint is in the environment as obstore reads it."""
    names = {
        "AWS_ENDPOINT": s3_server,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert os.environ["AWS_ENDPOINT"] == s3_server
    return f"s3://models/{tmp_path.name}"
