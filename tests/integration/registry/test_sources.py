"""The same round trip through every kind of source: push, list, resolve, ensure, verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from integration.registry.conftest import files_of, write
from integration.registry.standins import HubServer, MlflowServer, OciServer, sha
from matte_core.contracts.registry import Reason
from matte_registry.errors import RegistryError
from matte_registry.folder import hashed
from matte_registry.policy import VerificationPolicy
from matte_registry.registry import Registry
from matte_registry.settings import RegistrySettings

Change = Callable[..., RegistrySettings]


@pytest.fixture(params=["s3", "hf", "oci", "mlflow", "file", "pvc"])
def place(request: pytest.FixtureRequest, settings: RegistrySettings, tmp_path: Path) -> tuple[str, RegistrySettings]:
    """Where a version can be pushed, and the settings for it."""
    match request.param:
        case "s3":
            return request.getfixturevalue("s3") + "/1.0.0", settings
        case "hf":
            url = request.getfixturevalue("hub").url
            return "hf://o/m", settings.model_copy(update={"hub_url": url})
        case "oci":
            return f"oci://{request.getfixturevalue('oci').host}/team/m:1.0.0", settings
        case "mlflow":
            url = request.getfixturevalue("mlflow").url
            return f"mlflow://{url.removeprefix('http://')}/models/cut", settings
        case "file":
            (tmp_path / "store").mkdir()
            return f"file://{tmp_path}/store/1.0.0", settings
        case _:
            (tmp_path / "mounted").mkdir()
            return "pvc://weights/1.0.0", settings.model_copy(update={"claims": {"weights": tmp_path / "mounted"}})


def test_a_version_goes_round(place: tuple[str, RegistrySettings], folder: Path) -> None:
    target, settings = place
    registry = Registry(settings)
    pushed = registry.push(folder, target)
    assert pushed.digest == hashed(folder).digest
    resolved = registry.resolve(pushed.source)
    assert resolved.digest == pushed.digest
    assert resolved.metadata is not None
    assert resolved.metadata.license == "Apache-2.0"
    assert registry.verify(pushed.source, VerificationPolicy(pushed.digest)).digest == pushed.digest
    ready = registry.ensure(pushed.source, VerificationPolicy(pushed.digest, licenses=["Apache-2.0"]))
    for path in files_of():
        assert (ready.folder / path).read_bytes() == (folder / path).read_bytes()
    ready.release()


def test_another_digest_is_refused(place: tuple[str, RegistrySettings], folder: Path) -> None:
    target, settings = place
    registry = Registry(settings)
    source = registry.push(folder, target).source
    with pytest.raises(RegistryError, match="pinned is") as caught:
        registry.ensure(source, VerificationPolicy("sha256:" + "0" * 64))
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert registry.cache.digests() == []


def test_what_is_not_there_is_said(place: tuple[str, RegistrySettings]) -> None:
    target, settings = place
    absent = {"hf://o/m": "hf://o/other"}.get(target, target + ("/7" if target.startswith("mlflow") else ""))
    with pytest.raises(RegistryError, match=r"no folder|nothing|not found") as caught:
        Registry(settings).ensure(absent)
    folder = absent.startswith(("file", "pvc"))
    assert caught.value.reason is (Reason.WEIGHTS_MISSING if folder else Reason.SOURCE_NOT_FOUND)


def test_a_credential_that_cannot_be_read_is_told_without_it(
    settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", '{"private_key": "s3cret"')
    with pytest.raises(RegistryError, match="Give the pod an account") as caught:
        Registry(settings).ensure("gs://models/portrait")
    assert caught.value.reason is Reason.ACCESS_DENIED
    assert "s3cret" not in str(caught.value)


def test_versions_are_listed(place: tuple[str, RegistrySettings], folder: Path) -> None:
    target, settings = place
    registry = Registry(settings)
    pushed = registry.push(folder, target)
    name = target.rpartition("/1.0.0")[0] or target
    found = list(registry.versions(name))
    assert [version.label for version in found] in (["1.0.0"], ["main"], ["1"])
    assert {version.digest for version in found} <= {pushed.digest, None}
    assert registry.resolve(found[0].source).digest == pushed.digest


def test_a_bucket_behind_mlflow_is_read_itself(
    mlflow: MlflowServer, s3: str, folder: Path, settings: RegistrySettings
) -> None:
    registry = Registry(settings)
    digest = registry.push(folder, f"{s3}/x").digest
    number = mlflow.publish({}, f"{s3}/x")
    source = f"mlflow://{mlflow.url.removeprefix('http://')}/models/cut/{number}"
    assert registry.ensure(source, VerificationPolicy(digest)).digest == digest
    assert not mlflow.served


def test_a_tag_and_a_branch_are_pinned(
    hub: HubServer, oci: OciServer, folder: Path, settings: RegistrySettings
) -> None:
    registry = Registry(settings.model_copy(update={"hub_url": hub.url}))
    commit = hub.commit(files_of())
    assert registry.resolve("hf://o/m@main").source == f"hf://o/m@{commit}"
    registry.push(folder, f"oci://{oci.host}/team/m:1.0")
    pinned = f"sha256:{sha(oci.manifests['1.0'])}"
    assert registry.resolve(f"oci://{oci.host}/team/m:1.0").source == f"oci://{oci.host}/team/m@{pinned}"
    oci.manifests[pinned] = oci.manifests[pinned] + b" "
    with pytest.raises(RegistryError, match="another manifest"):
        registry.resolve(f"oci://{oci.host}/team/m@{pinned}")


def test_pickles_and_code_stay_where_they_are(hub: HubServer, settings: RegistrySettings) -> None:
    more = {"pytorch_model.bin": b"pickle", "birefnet.py": b"import os", ".gitattributes": b"x", "a.png": b"x"}
    hub.commit(files_of() | more)
    ready = Registry(settings.model_copy(update={"hub_url": hub.url})).ensure("hf://o/m@main")
    assert {path.name for path in ready.folder.rglob("*")} & more.keys() == set()
    assert hub.served.keys() & more.keys() == set()


def test_pickles_alone_are_refused(hub: HubServer, settings: RegistrySettings) -> None:
    hub.commit({"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(RegistryError, match="convert them") as caught:
        Registry(settings.model_copy(update={"hub_url": hub.url})).ensure("hf://o/m@main")
    assert caught.value.reason is Reason.NO_WEIGHTS


@pytest.mark.parametrize("path", ["../evil.json", "a/../../evil.json", "/etc/evil.json"])
def test_paths_that_lead_out_are_refused(path: str, hub: HubServer, settings: RegistrySettings) -> None:
    hub.commit(files_of() | {path: b"{}"})
    with pytest.raises(RegistryError, match="leads out") as caught:
        Registry(settings.model_copy(update={"hub_url": hub.url})).ensure("hf://o/m@main")
    assert caught.value.reason is Reason.FILE_REFUSED


@pytest.mark.parametrize(("bound", "value"), [("source_max_bytes", 100_000), ("source_max_files", 3)])
def test_versions_are_bounded(bound: str, value: int, hub: HubServer, settings: RegistrySettings) -> None:
    hub.commit(files_of())
    with pytest.raises(RegistryError) as caught:
        Registry(settings.model_copy(update={"hub_url": hub.url, bound: value})).ensure("hf://o/m@main")
    assert caught.value.reason is Reason.TOO_LARGE
    assert not hub.served


def test_the_license_is_judged_before_the_weights_are_fetched(hub: HubServer, settings: RegistrySettings) -> None:
    hub.commit(files_of(metadata="family: unet\nlicense: CC-BY-NC-4.0\n"))
    with pytest.raises(RegistryError, match=r"CC-BY-NC-4.0 is not allowed here; allowed are MIT") as caught:
        Registry(settings.model_copy(update={"hub_url": hub.url})).ensure(
            "hf://o/m@main", VerificationPolicy(licenses=["MIT"])
        )
    assert caught.value.reason is Reason.LICENSE_REFUSED
    assert set(hub.served) == {"matte.yaml"}


def test_tokens_and_passwords(hub: HubServer, oci: OciServer, folder: Path, settings: RegistrySettings) -> None:
    hub.token = oci.token = "secret-token"
    hub.commit(files_of())
    for source in ("hf://o/m@main", f"oci://{oci.host}/team/m:1"):
        with pytest.raises(RegistryError, match=r"MATTE_(HUB_TOKEN|OCI_CONFIG)") as caught:
            Registry(settings.model_copy(update={"hub_url": hub.url})).resolve(source)
        assert caught.value.reason is Reason.ACCESS_DENIED
    known = {"hub_url": hub.url, "hub_token": "secret-token", "oci_username": "user", "oci_password": "word"}
    registry = Registry(RegistrySettings(cache_dir=settings.cache_dir, **known))  # type: ignore[arg-type]
    assert registry.ensure("hf://o/m@main").digest == hashed(folder).digest
    source = registry.push(folder, f"oci://{oci.host}/team/m:1").source
    oci.token = "another-one"
    assert registry.resolve(source).digest == hashed(folder).digest
    assert "secret-token" not in repr(RegistrySettings(**known))  # type: ignore[arg-type]


def test_a_server_that_is_away_is_said(settings: RegistrySettings) -> None:
    nowhere = "http://127.0.0.1:9"
    quick = settings.model_copy(update={"hub_url": nowhere, "download_timeout_seconds": 5})
    for source in ("hf://o/m@main", "oci://127.0.0.1:9/team/m:1"):
        with pytest.raises(RegistryError, match="cannot be reached") as caught:
            Registry(quick).resolve(source)
        assert caught.value.transient


def test_a_version_is_pushed_once(s3: str, folder: Path, settings: RegistrySettings, tmp_path: Path) -> None:
    registry = Registry(settings)
    for target in (f"{s3}/1", f"file://{tmp_path}/one"):
        registry.push(folder, target)
        with pytest.raises(RegistryError, match="never changes"):
            registry.push(folder, target)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"model.pt": b"x"}, Reason.FILE_REFUSED),
        ({"run.py": b"x"}, Reason.FILE_REFUSED),
        ({"matte.yaml": b"family: unet"}, Reason.METADATA_INVALID),
        (
            {"matte.yaml": b"family: u\nlicense: MIT\nweights: {model.safetensors: sha256:" + b"0" * 64 + b"}"},
            Reason.METADATA_INVALID,
        ),
    ],
)
def test_a_folder_that_is_not_sound_is_not_pushed(
    files: dict[str, bytes], reason: Reason, folder: Path, settings: RegistrySettings, tmp_path: Path
) -> None:
    write(folder, files)
    with pytest.raises(RegistryError) as caught:
        Registry(settings).push(folder, f"file://{tmp_path}/out")
    assert caught.value.reason is reason
    assert not (tmp_path / "out").exists()


def test_a_link_that_leads_out_is_not_pushed(folder: Path, settings: RegistrySettings, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (folder / "extra.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(RegistryError, match="link that leads out"):
        Registry(settings).push(folder, f"file://{tmp_path}/out")
