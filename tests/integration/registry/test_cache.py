"""The node's cache: shared, bounded, and never with half a version in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from integration.registry.conftest import files_of, write
from integration.registry.standins import HubServer
from integration.registry.test_download import WEIGHTS, starts
from matte_core.contracts.registry import Reason
from matte_registry.errors import RegistryError
from matte_registry.registry import Registry, VerificationPolicy
from matte_registry.settings import RegistrySettings


@pytest.fixture
def settings(settings: RegistrySettings, hub: HubServer) -> RegistrySettings:
    return settings.model_copy(update={"hub_url": hub.url})


def versions(hub: HubServer, count: int) -> list[str]:
    return [f"hf://o/m@{hub.commit(files_of(seed), f'v{seed}')}" for seed in range(count)]


def bytes_of(root: Path) -> int:
    """What the disk holds: hard links once."""
    return sum({(s := p.stat()).st_ino: s.st_size for p in root.rglob("*") if p.is_file()}.values())


def test_what_was_used_longest_ago_goes_first(hub: HubServer, settings: RegistrySettings) -> None:
    size = sum(map(len, files_of().values()))
    bound = settings.model_copy(update={"cache_max_bytes": int(size * 2.5)})
    registry, sources, digests = Registry(bound), versions(hub, 4), []
    for number, source in enumerate(sources):
        ready = registry.ensure(source)
        ready.release()
        digests.append(ready.digest)
        if number == 1:
            registry.ensure(
                sources[0], VerificationPolicy(digests[0])
            ).release()  # used again: the other one is older now
        assert bytes_of(bound.cache_dir) <= bound.cache_max_bytes
    assert registry.cache.digests() == sorted([digests[2], digests[3]])


def test_what_is_in_use_stays(hub: HubServer, settings: RegistrySettings) -> None:
    size = sum(map(len, files_of().values()))
    bound = settings.model_copy(update={"cache_max_bytes": int(size * 1.5)})
    first, second = versions(hub, 2)
    process = starts(hub, bound.cache_dir, first, hold=600)
    assert process.stdout is not None
    digest = process.stdout.readline().strip()
    try:
        with pytest.raises(RegistryError, match="MATTE_CACHE_MAX_BYTES") as caught:
            Registry(bound).ensure(second)
        assert caught.value.reason is Reason.CACHE_FULL
        assert Registry(bound).cache.digests() == [digest]
    finally:
        process.kill()
        process.communicate()
    Registry(bound).ensure(second).release()  # the kernel gave the lock back
    assert digest not in Registry(bound).cache.digests()


def test_versions_share_files(hub: HubServer, settings: RegistrySettings) -> None:
    one = files_of()
    sources = [
        f"hf://o/m@{hub.commit(files, name)}" for name, files in (("a", one), ("b", one | {"config.json": b"{}"}))
    ]
    registry = Registry(settings)
    first, second = (registry.ensure(source) for source in sources)
    assert first.digest != second.digest
    assert (first.folder / WEIGHTS).samefile(second.folder / WEIGHTS)
    assert hub.served[WEIGHTS] == len(one[WEIGHTS])


def test_a_damaged_version_is_fetched_again(hub: HubServer, settings: RegistrySettings) -> None:
    (source,) = versions(hub, 1)
    registry = Registry(settings)
    ready = registry.ensure(source)
    ready.release()
    path = ready.folder / WEIGHTS
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x99")
    again = registry.ensure(source, VerificationPolicy(ready.digest))
    assert (again.folder / WEIGHTS).read_bytes() == files_of()[WEIGHTS]
    again.release()
    (again.folder / WEIGHTS).unlink()
    assert (registry.ensure(source, VerificationPolicy(ready.digest)).folder / WEIGHTS).exists()


def test_what_killed_processes_left_is_swept(hub: HubServer, settings: RegistrySettings) -> None:
    (source,) = versions(hub, 1)
    cache = settings.cache_dir
    Registry(settings).cache.sweep()
    write(cache / "staging" / "half", {"model.safetensors": b"x"})
    write(cache / "files" / "sha256", {"0" * 64: b"of no version"})
    old, young = write(cache / "partial" / "old", {"room": b""}), write(cache / "partial" / "young", {"room": b""})
    os.utime(old, (0, time.time() - 2 * settings.cache_partial_seconds))
    Registry(settings).ensure(source)
    assert not (cache / "staging" / "half").exists()
    assert not (cache / "files" / "sha256" / ("0" * 64)).exists()
    assert not old.exists()
    assert young.exists()


CHURN = """
import random, sys
from pathlib import Path
from matte_registry.registry import VerificationPolicy, Registry
from matte_registry.errors import RegistryError
from matte_registry.settings import RegistrySettings
url, cache, seed, bound, *sources = sys.argv[1:]
settings = RegistrySettings(hub_url=url, cache_dir=Path(cache), cache_max_bytes=int(bound), download_block_bytes=65536)
registry, draw = Registry(settings), random.Random(int(seed))
for _ in range(8):
    source, digest = draw.choice(sources).split("=")
    try:
        ready = registry.ensure(source, VerificationPolicy(digest))
    except RegistryError as error:
        assert error.reason == "CacheFull", error
        continue
    assert registry.check_folder(ready.folder).digest == digest  # while it is held, nobody takes it away
    ready.release()
"""


def test_many_processes_come_and_go_and_are_killed(hub: HubServer, settings: RegistrySettings, tmp_path: Path) -> None:
    size = sum(map(len, files_of().values()))
    sources = versions(hub, 4)
    pairs = [f"{source}={Registry(settings).resolve(source).digest}" for source in sources]
    cache = tmp_path / "churn"
    words = [sys.executable, "-c", CHURN, hub.url, str(cache)]
    running = [
        subprocess.Popen([*words, str(seed), str(size * 5 // 2), *pairs], stderr=subprocess.PIPE) for seed in range(4)
    ]
    time.sleep(1.5)
    running[0].kill()
    errors = [process.communicate(timeout=100)[1] for process in running]
    assert [process.returncode for process in running[1:]] == [0] * 3, errors
    final = Registry(settings.model_copy(update={"cache_dir": cache, "cache_max_bytes": size * 5 // 2}))
    assert bytes_of(cache) <= size * 7 // 2  # the bound, and what the killed one may have left: the next one sweeps it
    for digest in final.cache.digests():
        use = final.cache.acquire(digest)
        assert use is not None
        assert final.check_folder(use.folder).digest == digest
        use.release()


def test_signatures_are_checked_before_and_after(settings: RegistrySettings, folder: Path, s3: str) -> None:
    registry, key, other = Registry(settings), Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    source = registry.push(folder, f"{s3}/signed", key).source
    trusted = VerificationPolicy(keys=[other.public_key(), key.public_key()])
    ready = registry.ensure(source, trusted)
    registry.ensure(source, VerificationPolicy(ready.digest, keys=[key.public_key()])).release()
    plain = registry.push(folder, f"{s3}/plain").source
    for policy in (
        VerificationPolicy(keys=[other.public_key()]),
        VerificationPolicy(ready.digest, keys=[other.public_key()]),
    ):
        for place in (source, plain):
            with pytest.raises(RegistryError, match=r"no known key|not signed") as caught:
                registry.ensure(place, policy)
            assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_a_folder_is_checked_where_it_lies(settings: RegistrySettings, folder: Path) -> None:
    registry = Registry(settings)
    ready = registry.ensure(f"file://{folder}")
    assert ready.folder == folder
    (folder / "config.json").write_text("{ }")
    with pytest.raises(RegistryError, match="pinned is"):
        registry.ensure(f"file://{folder}", VerificationPolicy(ready.digest))
    with pytest.raises(RegistryError, match="not mounted"):
        registry.ensure("pvc://elsewhere/x")
