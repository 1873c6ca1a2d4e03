"""When ``matte serve`` asks the npm client for its registry, and whom it tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from matte_cli.serve import npm_environment

ADDRESS = "http://user:word@127.0.0.1:1/npm/"


@pytest.fixture(autouse=True)
def npm_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm client that notes each call."""
    monkeypatch.delenv("MATTE_NPM_REGISTRY", raising=False)
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho {ADDRESS}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return tmp_path / "calls"


def test_inference_gets_the_registry_where_a_model_may_come_from_it(npm_client: Path, tmp_path: Path) -> None:
    config = tmp_path / "models.yaml"
    config.write_text("versions: [{source: 'npm://package@1.0.0/file'}]")
    assert npm_environment(None) == npm_environment(config) == {"MATTE_NPM_REGISTRY": ADDRESS}
    assert npm_client.read_text().splitlines() == ["config get registry"] * 2


def test_otherwise_the_client_is_not_asked(npm_client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "models.yaml"
    config.write_text("versions: [{source: 's3://bucket/folder'}]")
    assert npm_environment(config) == {}
    monkeypatch.setenv("MATTE_NPM_REGISTRY", ADDRESS)
    assert npm_environment(None) == {}, "it is in the environment already"
    assert not npm_client.exists()
