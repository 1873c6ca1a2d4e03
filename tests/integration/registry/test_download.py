"""What a broken network, a killed process and a lying source do to a download."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from integration.registry.conftest import files_of, write
from integration.registry.standins import HubServer
from matte_core.contracts.registry import Reason
from matte_registry.errors import RegistryError
from matte_registry.folder import hashed
from matte_registry.progress import Progress
from matte_registry.registry import Registry, VerificationPolicy
from matte_registry.settings import RegistrySettings

WEIGHTS = "model.safetensors"
#: a process that has a version, and says so with the bytes that it still had to fetch
ENSURE = """
import sys, time
from pathlib import Path
from matte_registry.registry import VerificationPolicy, Registry
from matte_registry.settings import RegistrySettings
url, cache, source, digest, hold = sys.argv[1:]
settings = RegistrySettings(hub_url=url, cache_dir=Path(cache), download_block_bytes=64 << 10, download_parallel=4)
ready = Registry(settings).ensure(source, VerificationPolicy(digest or None))
print(ready.digest, flush=True)
time.sleep(float(hold))
"""


def starts(hub: HubServer, cache: Path, source: str, digest: str = "", hold: float = 0) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", ENSURE, hub.url, str(cache), source, digest, str(hold)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def settings(settings: RegistrySettings, hub: HubServer) -> RegistrySettings:
    return settings.model_copy(update={"hub_url": hub.url, "download_attempts": 4})


def test_a_killed_download_goes_on_where_it_was(hub: HubServer, tmp_path: Path, settings: RegistrySettings) -> None:
    files = files_of(count=1_000_000)
    hub.commit(files)
    hub.seconds_per_piece = 0.02
    cache = settings.cache_dir
    process = starts(hub, cache, "hf://o/m@main")
    deadline = time.monotonic() + 60
    while hub.served[WEIGHTS] < len(files[WEIGHTS]) // 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = hub.served[WEIGHTS]
    assert before < len(files[WEIGHTS])
    assert list((cache / "versions" / "sha256").iterdir()) == []
    hub.seconds_per_piece = 0
    time.sleep(0.3)  # the server notices that nobody reads any more
    before = hub.served[WEIGHTS]
    ready = Registry(settings).ensure("hf://o/m@main")
    again = hub.served[WEIGHTS] - before
    print(f"served before the kill {before}, after it {again}, of {len(files[WEIGHTS])}")
    # what four blocks under way, and what the kernel had taken from the server but nobody had read, may cost
    assert len(files[WEIGHTS]) - before <= again < len(files[WEIGHTS]) * 3 // 4
    assert ready.digest == hashed(write(tmp_path / "same", files)).digest
    assert not any((cache / "partial").iterdir())


def test_two_processes_download_once(hub: HubServer, tmp_path: Path) -> None:
    files = files_of()
    hub.commit(files)
    hub.seconds_per_piece = 0.005
    processes = [starts(hub, tmp_path / "cache", "hf://o/m@main") for _ in range(4)]
    answers = {process.communicate(timeout=100)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert answers == {hashed(write(tmp_path / "same", files)).digest}
    assert hub.served[WEIGHTS] == len(files[WEIGHTS])


def test_failures_that_pass_are_tried_again(hub: HubServer, settings: RegistrySettings) -> None:
    files = files_of()
    hub.commit(files)
    registry = Registry(settings)
    registry.resolve("hf://o/m@main")
    hub.served.clear()
    hub.cut_after = 300_000
    seen: list[Progress] = []
    registry.ensure("hf://o/m@main", on_progress=seen.append).release()
    assert hub.cuts == 1
    assert seen[-1].done == seen[-1].total == sum(map(len, files.values()))
    assert all(0 <= progress.done <= progress.total for progress in seen)


def test_a_source_that_stays_away_is_given_up(hub: HubServer, settings: RegistrySettings) -> None:
    hub.commit(files_of())
    hub.failures = 10**6
    with pytest.raises(RegistryError, match="HTTP 503") as caught:
        Registry(settings).ensure("hf://o/m@main")
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE


@pytest.mark.parametrize("path", [WEIGHTS, "config.json"])
def test_a_file_that_is_not_what_was_pinned_is_thrown_away(
    path: str, hub: HubServer, settings: RegistrySettings, tmp_path: Path
) -> None:
    good = files_of()
    digest = hashed(write(tmp_path / "good", good)).digest
    oid = hub.commit(good)
    registry = Registry(settings)
    resolved = registry.resolve("hf://o/m@main")
    changed = bytearray(good[path])
    changed[-2] ^= 1
    hub.claimed = good  # it says what it had
    hub.commits[oid] = good | {path: bytes(changed)}
    for policy in (VerificationPolicy(resolved.digest), VerificationPolicy(digest)):
        with pytest.raises(RegistryError) as caught:
            registry.ensure("hf://o/m@main", policy)
        assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert registry.cache.digests() == []
    with pytest.raises(RegistryError, match=r"SHA-256|pinned"):
        registry.verify("hf://o/m@main", VerificationPolicy(digest))
    hub.commits[oid] = good
    assert registry.ensure("hf://o/m@main", VerificationPolicy(digest)).digest == digest


def test_a_pinned_version_starts_while_the_source_is_away(hub: HubServer, settings: RegistrySettings) -> None:
    hub.commit(files_of())
    first = Registry(settings).ensure("hf://o/m@main")
    away = settings.model_copy(update={"hub_url": "http://127.0.0.1:9"})
    again = Registry(away).ensure("hf://o/m@main", VerificationPolicy(first.digest))
    assert again.folder == first.folder


def test_pull_resumes_in_a_folder_of_ones_own(hub: HubServer, settings: RegistrySettings, tmp_path: Path) -> None:
    files = files_of()
    hub.commit(files)
    once = settings.model_copy(update={"download_attempts": 1, "download_parallel": 1})
    hub.cut_after = 400_000
    with pytest.raises(RegistryError):
        Registry(once).pull("hf://o/m@main", tmp_path / "partial")
    assert not (tmp_path / "partial").exists()
    hub.served.clear()
    ready = Registry(once).pull("hf://o/m@main", tmp_path / "partial")
    assert {p.relative_to(ready.folder).as_posix() for p in ready.folder.rglob("*") if p.is_file()} == files.keys()
    assert hub.served[WEIGHTS] <= len(files[WEIGHTS]) - 300_000
    with pytest.raises(RegistryError, match="not an empty folder"):
        Registry(once).pull("hf://o/m@main", tmp_path / "partial")
