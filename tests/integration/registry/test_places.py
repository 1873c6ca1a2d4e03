"""``https://``, ``npm://`` and ``catalog://`` against real servers, whole and broken."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from integration.registry.mirrors import FileServer, NpmServer, certificate, chunked, sha
from matte_core.contracts.registry import Reason
from matte_registry import catalog
from matte_registry.catalog import CatalogModel, digest_of
from matte_registry.diff import compare
from matte_registry.errors import RegistryError
from matte_registry.manifest import folder_digest
from matte_registry.progress import Progress
from matte_registry.registry import Registry, VerificationPolicy
from matte_registry.settings import RegistrySettings
from pydantic import SecretStr

pytestmark = pytest.mark.timeout(120)
WEIGHTS = np.random.default_rng(7).bytes(1_000_000)
OTHER = np.random.default_rng(8).bytes(1_000_000)


@pytest.fixture
def settings(settings: RegistrySettings) -> RegistrySettings:
    return settings.model_copy(update={"download_timeout_seconds": 1.0, "download_attempts": 2})


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    server = FileServer()
    server.tls, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with server.running():
        yield server
        server.hang.set()


@pytest.fixture
def npm() -> Iterator[NpmServer]:
    server = NpmServer()
    with server.running():
        yield server


def with_npm(settings: RegistrySettings, address: str, token: str | None = None) -> Registry:
    secrets = {"npm_registry": SecretStr(address), "npm_token": SecretStr(token) if token else None}
    return Registry(settings.model_copy(update=secrets))


def hashes_of(folder: Path) -> dict[str, str]:
    return {path.name: sha(path.read_bytes()) for path in folder.iterdir()}


def refused(registry: Registry, source: str, word: str) -> RegistryError:
    with pytest.raises(RegistryError, match=word) as caught:
        registry.ensure(source)
    assert registry.cache.digests() == []
    return caught.value


# --- https ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranged", [True, False])
def test_a_file_of_the_web_is_a_version(ranged: bool, web: FileServer, settings: RegistrySettings) -> None:
    web.ranged = ranged
    source = web.put("models/cut.onnx", WEIGHTS)
    seen: list[Progress] = []
    ready = Registry(settings).ensure(source, on_progress=seen.append)
    assert hashes_of(ready.folder) == {"model.onnx": sha(WEIGHTS)}
    assert ready.digest == folder_digest({"model.onnx": sha(WEIGHTS)})
    assert (ready.metadata, ready.source) == (None, source)
    assert seen[-1] == Progress(len(WEIGHTS), len(WEIGHTS))


def test_a_cached_file_needs_no_server(web: FileServer, settings: RegistrySettings) -> None:
    source = web.put("cut.onnx", WEIGHTS)
    first = Registry(settings).ensure(source)
    web.requests.clear()
    assert Registry(settings).ensure(source).folder == first.folder
    moved = source.replace("/cut.onnx", "/elsewhere/other.onnx")
    assert Registry(settings).ensure(moved).folder == first.folder  # the same content has the same digest
    assert web.requests == []


def test_a_cut_off_download_goes_on(web: FileServer, settings: RegistrySettings, tmp_path: Path) -> None:
    source = web.put("cut.onnx", WEIGHTS)
    once = Registry(settings.model_copy(update={"download_attempts": 1, "download_parallel": 1}))
    web.cut_after = 600_000
    with pytest.raises(RegistryError, match=r"cannot be reached|ended") as caught:
        once.pull(source, tmp_path / "out")
    assert caught.value.transient
    web.served.clear()
    ready = once.pull(source, tmp_path / "out")
    assert hashes_of(ready.folder)["model.onnx"] == sha(WEIGHTS)
    assert web.served["cut.onnx"] < 600_000


def test_a_login_page_is_not_taken_for_weights(web: FileServer, settings: RegistrySettings) -> None:
    source = web.put("cut.onnx", WEIGHTS)
    web.broken["cut.onnx"] = "page"
    error = refused(Registry(settings), source, r"web page \(HTML\)")
    assert error.reason is Reason.SOURCE_INVALID


@pytest.mark.parametrize(
    ("how", "reason", "word"),
    [
        ("denied", Reason.ACCESS_DENIED, "HTTP 403"),
        ("compressed", Reason.SOURCE_INVALID, "compresses"),
        ("endless", Reason.SOURCE_INVALID, "does not say the file's size"),
        ("silent", Reason.SOURCE_UNAVAILABLE, "no data came in time"),
    ],
)
def test_what_servers_do_is_told(
    how: str, reason: Reason, word: str, web: FileServer, settings: RegistrySettings
) -> None:
    source = web.put("cut.onnx", WEIGHTS)
    web.broken["cut.onnx"] = how
    error = refused(Registry(settings), source, word)
    assert error.reason is reason
    assert "cut.onnx" in str(error)


def test_other_content_is_refused(web: FileServer, settings: RegistrySettings) -> None:
    source = web.put("cut.onnx", WEIGHTS)
    web.files["cut.onnx"] = OTHER
    error = refused(Registry(settings), source, f"SHA-256 {sha(OTHER)}")
    assert error.reason is Reason.DIGEST_MISMATCH
    web.files["cut.onnx"] = WEIGHTS
    assert hashes_of(Registry(settings).ensure(source).folder)["model.onnx"] == sha(WEIGHTS)


def test_absent_files_and_strange_certificates(
    web: FileServer, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"#sha256={'a' * 64}"
    assert refused(Registry(settings), f"{web.url}/no.onnx{mark}", "404").reason is Reason.SOURCE_NOT_FOUND
    refused(Registry(settings), f"{web.url}/no.pth{mark}", "can run code")
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    error = refused(Registry(settings), web.put("cut.onnx", WEIGHTS), "(?i)certificate")
    assert error.reason is Reason.SOURCE_UNAVAILABLE


def test_it_is_bounded(web: FileServer, settings: RegistrySettings) -> None:
    small = Registry(settings.model_copy(update={"source_max_bytes": 500_000}))
    error = refused(small, web.put("cut.onnx", WEIGHTS), "MATTE_SOURCE_MAX_BYTES")
    assert error.reason is Reason.TOO_LARGE
    assert web.served["cut.onnx"] < 20_000


def test_redirects_stay_with_tls(web: FileServer, settings: RegistrySettings) -> None:
    source = web.put("cut.onnx", WEIGHTS)
    with FileServer().running() as plain:
        assert isinstance(plain, FileServer)
        plain.put("cut.onnx", WEIGHTS)
        web.redirects["cut.onnx"] = f"{plain.url}/cut.onnx"
        error = refused(Registry(settings), source, "without TLS")
        assert error.reason is Reason.SOURCE_INVALID
        assert plain.requests == []
    web.redirects["cut.onnx"] = f"{web.url}/cut.onnx"
    refused(Registry(settings), source, "more than 5 redirects")
    web.redirects["cut.onnx"] = f"{web.url}/cdn/abc"
    web.files["cdn/abc"] = WEIGHTS
    assert hashes_of(Registry(settings).ensure(source).folder)["model.onnx"] == sha(WEIGHTS)


# --- npm --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cut", "@scope/cut"])
@pytest.mark.parametrize("path", ["dist/whole.onnx", "models/medium"])
def test_a_file_of_a_package_is_a_version(name: str, path: str, npm: NpmServer, settings: RegistrySettings) -> None:
    npm.publish(name, "1.2.3", {**chunked(WEIGHTS, "/models/medium"), "dist/whole.onnx": WEIGHTS, "index.js": b"x"})
    seen: list[Progress] = []
    ready = with_npm(settings, npm.registry).ensure(f"npm://{name}@1.2.3/{path}", on_progress=seen.append)
    assert hashes_of(ready.folder) == {"model.onnx": sha(WEIGHTS)}
    total = len(npm.packages[name]["1.2.3"].tarball)
    assert seen[-1] == Progress(total, total)
    assert list((settings.cache_dir / "partial").iterdir()) == []


def test_a_package_is_read_for_checks_and_comparisons(npm: NpmServer, settings: RegistrySettings) -> None:
    npm.publish("cut", "1.0.0", {"a.onnx": WEIGHTS, "b.onnx": OTHER[:-5]})
    registry = with_npm(settings, npm.registry)
    good = registry.verify("npm://cut@1.0.0/a.onnx")
    assert good.digest == folder_digest({"model.onnx": sha(WEIGHTS)})
    with pytest.raises(RegistryError, match="pinned is"):
        registry.verify("npm://cut@1.0.0/b.onnx", VerificationPolicy(good.digest))
    (change,) = compare(registry.remote("npm://cut@1.0.0/a.onnx"), registry.remote("npm://cut@1.0.0/b.onnx")).files
    assert change.path == "model.onnx"


@pytest.mark.parametrize("redirected", [False, True])
@pytest.mark.parametrize("way", ["token", "user"])
def test_credentials_reach_the_registry_and_nobody_else(
    way: str, redirected: bool, npm: NpmServer, settings: RegistrySettings
) -> None:
    with FileServer().running() as elsewhere:
        assert isinstance(elsewhere, FileServer)
        package = npm.publish("cut", "1.0.0", {"a.onnx": WEIGHTS})
        elsewhere.put("cut.tgz", package.tarball)
        if redirected:
            npm.moved = f"{elsewhere.url}/cut.tgz"
        else:
            package.dist["tarball"] = f"{elsewhere.url}/cut.tgz"
        if way == "token":
            npm.credentials, registry = "Bearer secret-word", with_npm(settings, npm.registry, "secret-word")
        else:
            npm.credentials = "Basic " + base64.b64encode(b"me:secret-word/@").decode()
            registry = with_npm(settings, npm.registry.replace("://", "://me:secret-word%2F%40@"))
        assert hashes_of(registry.ensure("npm://cut@1.0.0/a.onnx").folder)["model.onnx"] == sha(WEIGHTS)
        assert elsewhere.requests
        assert {credentials for _, credentials in elsewhere.requests} == {""}


def test_a_mirror_that_still_names_the_original_has_the_tarball_itself(
    npm: NpmServer, settings: RegistrySettings
) -> None:
    package = npm.publish("@scope/cut", "1.0.0", {"a.onnx": WEIGHTS})
    package.dist["tarball"] = "http://127.0.0.1:9/@scope/cut/-/cut-1.0.0.tgz"
    ready = with_npm(settings, npm.registry + "/").ensure("npm://@scope/cut@1.0.0/a.onnx")
    assert hashes_of(ready.folder)["model.onnx"] == sha(WEIGHTS)


def test_a_tarball_is_resumed(npm: NpmServer, settings: RegistrySettings, tmp_path: Path) -> None:
    npm.publish("cut", "1.0.0", {"a.onnx": WEIGHTS})
    once = with_npm(settings.model_copy(update={"download_attempts": 1, "download_parallel": 1}), npm.registry)
    npm.cut_after = 600_000
    with pytest.raises(RegistryError):
        once.pull("npm://cut@1.0.0/a.onnx", tmp_path / "out")
    npm.served.clear()
    ready = once.pull("npm://cut@1.0.0/a.onnx", tmp_path / "out")
    assert [path.name for path in ready.folder.iterdir()] == ["model.onnx"]
    assert npm.served["tarball"] < 600_000


def sha512(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


@pytest.mark.parametrize(
    ("source", "dist", "reason", "word"),
    [
        ("npm://cut@1.0.0/a.onnx", {"integrity": sha512(b"other")}, Reason.DIGEST_MISMATCH, "SHA-512"),
        ("npm://cut@1.0.0/a.onnx", {"integrity": "sha1-abc="}, Reason.SOURCE_INVALID, "no SHA-512"),
        ("npm://cut@1.0.0/a.onnx", {"integrity": None}, Reason.SOURCE_INVALID, "no SHA-512"),
        ("npm://cut@1.0.1/a.onnx", {}, Reason.SOURCE_NOT_FOUND, "no version 1.0.1"),
        ("npm://other@1.0.0/a.onnx", {}, Reason.SOURCE_NOT_FOUND, "404"),
        ("npm://cut@1.0.0/b.onnx", {}, Reason.SOURCE_INVALID, "no file b.onnx"),
        ("npm://cut@1.0.0/models/large", {}, Reason.SOURCE_INVALID, "no file models/large"),
        ("npm://cut@1.0.0/a.js", {}, Reason.FILE_REFUSED, "can run code"),
    ],
)
def test_packages_that_are_refused(
    source: str, dist: dict[str, object], reason: Reason, word: str, npm: NpmServer, settings: RegistrySettings
) -> None:
    npm.publish("cut", "1.0.0", {"a.onnx": WEIGHTS, "a.js": b"x"}).dist.update(dist)
    error = refused(with_npm(settings, npm.registry, "secret-word"), source, word)
    assert error.reason is reason
    for secret in ("secret-word", npm.url.partition("://")[2]):
        assert secret not in str(error)


def test_what_is_no_registry_is_told_without_its_address(npm: NpmServer, settings: RegistrySettings) -> None:
    source = "npm://cut@1.0.0/a.onnx"
    address = npm.registry.replace("://", "://me:secret-word@")
    npm.page = True
    errors = [refused(with_npm(settings, address), source, "does not answer as an npm registry")]
    npm.page, npm.credentials = False, "Bearer x"
    errors.append(refused(with_npm(settings, address), source, "MATTE_NPM_TOKEN"))
    dead = "http://me:secret-word@127.0.0.1:9/npm"
    errors.append(refused(with_npm(settings, dead), source, "MATTE_NPM_REGISTRY.*cannot be reached"))
    errors.append(refused(with_npm(settings, "secret-word"), source, "https://HOST/PATH"))
    for error in errors:
        for secret in ("secret-word", "127.0.0.1"):
            assert secret not in str(error)
    refused(Registry(settings), source, "set MATTE_NPM_REGISTRY")


def test_a_package_is_bounded(npm: NpmServer, settings: RegistrySettings) -> None:
    npm.publish("cut", "1.0.0", {"zeros": bytes(5_000_000), "a.onnx": WEIGHTS})
    small = settings.model_copy(update={"source_max_bytes": 2_000_000})
    error = refused(with_npm(small, npm.registry), "npm://cut@1.0.0/a.onnx", "MATTE_SOURCE_MAX_BYTES|unpacks to more")
    assert error.reason in {Reason.TOO_LARGE, Reason.SOURCE_INVALID}


def test_a_pinned_package_in_the_cache_needs_no_registry(npm: NpmServer, settings: RegistrySettings) -> None:
    npm.publish("cut", "1.0.0", {"a.onnx": WEIGHTS})
    first = with_npm(settings, npm.registry).ensure("npm://cut@1.0.0/a.onnx")
    again = Registry(settings).ensure("npm://cut@1.0.0/a.onnx", VerificationPolicy(first.digest))
    assert again.folder == first.folder


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for less than the weights."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("scheme", ["npm", "https"])
def test_a_full_disk_is_told(
    scheme: str, full_disk: Path, npm: NpmServer, web: FileServer, settings: RegistrySettings
) -> None:
    npm.publish("cut", "1.0.0", {"a.onnx": bytes(len(WEIGHTS))})  # the tarball fits, its content does not
    source = "npm://cut@1.0.0/a.onnx" if scheme == "npm" else web.put("cut.onnx", WEIGHTS)
    with pytest.raises(RegistryError, match="is full") as caught:
        with_npm(settings, npm.registry).pull(source, full_disk / "out")
    assert (caught.value.reason, caught.value.transient) == (Reason.CACHE_FULL, True)
    assert str(full_disk) in str(caught.value)


def test_settings_do_not_show_secrets() -> None:
    settings = RegistrySettings(
        npm_registry=SecretStr("https://me:secret-word@host"), npm_token=SecretStr("secret-word")
    )
    assert "secret-word" not in repr(settings) + str(settings) + settings.model_dump_json()


# --- the catalog ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """A catalog with one model, ``cut``, whose first place is broken and whose second one is whole."""

    first: FileServer
    second: FileServer

    def enter(self, monkeypatch: pytest.MonkeyPatch, *places: str) -> CatalogModel:
        entry = {
            "name": "cut", "title": "Cut", "description": "d", "license": "MIT", "authors": ["a"],
            "homepage": "https://h.example", "training_data": "t", "limitations": "l", "default": "1.0.0",
            "constants": {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]},
            "versions": [
                {"version": "1.0.0", "summary": "s", "provenance": "p", "size": len(WEIGHTS), "sha256": sha(WEIGHTS),
                 "verified": True, "places": places}
            ],
        }  # fmt: skip
        model = CatalogModel.model_validate(entry)
        monkeypatch.setattr(catalog, "known_models", lambda: {"cut": model})
        return model

    @property
    def urls(self) -> tuple[str, str]:
        return f"{self.first.url}/cut.onnx", f"{self.second.url}/deep/cut-1.onnx"


@pytest.fixture
def places(web: FileServer) -> Iterator[Places]:
    second = FileServer()
    second.tls = web.tls
    with second.running():
        web.put("cut.onnx", WEIGHTS)
        second.put("deep/cut-1.onnx", WEIGHTS)
        yield Places(web, second)


@pytest.mark.parametrize("how", ["dead", "silent", "page", "denied", "other", "shorter", "absent", "plain", "npm"])
def test_the_first_place_that_has_it_is_taken(
    how: str, places: Places, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = places.urls
    match how:
        case "dead":
            first = "https://127.0.0.1:9/cut.onnx"
        case "other":
            places.first.files["cut.onnx"] = OTHER
        case "shorter":
            places.first.files["cut.onnx"] = WEIGHTS[:-1]
        case "absent":
            places.first.files.clear()
        case "plain":
            places.first.redirects["cut.onnx"] = "http://127.0.0.1:9/cut.onnx"
        case "npm":
            first = "npm://@scope/cut@1.0.0/models/medium"  # no npm registry is known
        case _:
            places.first.broken["cut.onnx"] = how
    model = places.enter(monkeypatch, first, second)
    seen: list[Progress] = []
    ready = Registry(settings).ensure("catalog://cut", on_progress=seen.append)
    assert hashes_of(ready.folder)["model.onnx"] == sha(WEIGHTS)
    assert {path.name for path in ready.folder.iterdir()} == {"model.onnx", "matte.yaml", "MODEL_CARD.md"}
    assert ready.digest == digest_of(model, model.versions[0])
    assert ready.source == "catalog://cut@1.0.0"
    assert ready.metadata == model.metadata(model.versions[0])
    assert seen[-1] == Progress(len(WEIGHTS), len(WEIGHTS))


def test_npm_is_a_place_too(
    npm: NpmServer, places: Places, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm.publish("@scope/cut", "1.0.0", chunked(WEIGHTS, "/models/medium"))
    places.enter(monkeypatch, "npm://@scope/cut@1.0.0/models/medium", places.urls[1])
    ready = with_npm(settings, npm.registry).ensure("catalog://cut@1.0.0")
    assert hashes_of(ready.folder)["model.onnx"] == sha(WEIGHTS)
    assert places.second.requests == []


def test_a_cached_version_needs_no_network(
    places: Places, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = places.enter(monkeypatch, *places.urls)
    first = Registry(settings).ensure("catalog://cut")
    places.first.requests.clear()
    for source in ("catalog://cut", "catalog://cut@1.0.0"):
        for policy in (VerificationPolicy(), VerificationPolicy(digest_of(model, model.versions[0]))):
            assert Registry(settings).ensure(source, policy).folder == first.folder
    Registry(settings).resolve("catalog://cut")
    assert places.first.requests == places.second.requests == []


def test_all_reasons_are_told_where_no_place_has_it(
    places: Places, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.first.broken["cut.onnx"] = "page"
    places.second.files.clear()
    places.enter(monkeypatch, *places.urls)
    error = refused(Registry(settings), "catalog://cut", r"none of its 2 places has it: 1\. .*web page.*2\. .*HTTP 404")
    assert (error.reason, error.transient) == (Reason.SOURCE_INVALID, False)
    places.enter(monkeypatch, places.urls[0], "https://127.0.0.1:9/cut.onnx")
    assert refused(Registry(settings), "catalog://cut", "cannot be reached").transient


def test_the_second_place_goes_on_where_the_first_one_broke(
    places: Places, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.enter(monkeypatch, *places.urls)
    once = settings.model_copy(update={"download_attempts": 1, "download_parallel": 1})
    places.first.cut_after = 600_000
    ready = Registry(once).ensure("catalog://cut")
    assert hashes_of(ready.folder)["model.onnx"] == sha(WEIGHTS)
    assert 0 < places.second.served["deep/cut-1.onnx"] < 600_000


def test_a_place_is_not_blamed_for_what_another_one_sent(
    places: Places, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.enter(monkeypatch, *places.urls)
    once = settings.model_copy(update={"download_attempts": 1, "download_parallel": 1})
    places.first.files["cut.onnx"] = OTHER
    places.first.cut_after = 600_000
    ready = Registry(once).ensure("catalog://cut")
    assert hashes_of(ready.folder)["model.onnx"] == sha(WEIGHTS)


def test_it_is_verified_and_compared(
    places: Places, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = places.enter(monkeypatch, *places.urls)
    registry = Registry(settings)
    assert registry.verify("catalog://cut").digest == digest_of(model, model.versions[0])
    places.first.broken["cut.onnx"] = "denied"  # what is only read comes from the first place that answers, too
    assert registry.verify("catalog://cut").digest == digest_of(model, model.versions[0])
    places.first.broken.clear()
    places.first.files["cut.onnx"] = OTHER
    with pytest.raises(RegistryError, match="SHA-256") as caught:
        registry.verify("catalog://cut")
    assert caught.value.reason is Reason.DIGEST_MISMATCH


SOURCES = ["catalog://cut", "npm://cut@1.0.0/a.onnx", f"https://h.example/a.onnx#sha256={'a' * 64}"]


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_pushed_there(
    source: str, settings: RegistrySettings, folder: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.enter(monkeypatch, *places.urls)
    with pytest.raises(RegistryError, match="takes none: push to"):
        with_npm(settings, "http://127.0.0.1:9").push(folder, source)
