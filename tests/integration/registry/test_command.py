"""The command, as people use it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from integration.registry.conftest import files_of, write
from integration.registry.standins import OciServer
from matte_cli.main import app
from typer.testing import CliRunner


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
