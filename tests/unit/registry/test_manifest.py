from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matte_core.contracts.catalog import VersionConfig
from matte_inference.families.registry import load
from matte_inference.families.unet import MODELS
from matte_registry.folder import hashed
from matte_registry.manifest import (
    canonical,
    check_path,
    exclusion_reason,
    folder_digest,
    is_covered,
    parse_manifest,
    predicted_digest,
    text_digest,
)

#: what stored jobs and Models name them by: it never changes
DIGESTS = {
    "1.0.0": "sha256:c26499d82d779ad409cbf38b3dedef5bb9afd4fa97d7b2521e8f87b3e3a34db5",
    "2.0.0": "sha256:fd813244b947ecc2fd29bdbcb168e7798c10f4ee8ab4d333e8706425161e4d6a",
}
SHA = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}\.(safetensors|json|yaml|txt|md)", fullmatch=True)


@pytest.mark.parametrize("folder", sorted(MODELS.glob("*/")), ids=lambda p: p.name)
def test_the_bundled_models_are_named_by_the_digest_of_their_manifest(folder: Path) -> None:
    version = folder.name.removeprefix("unet-")
    loaded = load(VersionConfig(model="unet", version=version, family="unet"))
    assert loaded.digest == hashed(folder).digest == DIGESTS[version]


def test_the_manifest_is_one_that_sha256sum_checks(tmp_path: Path) -> None:
    for name, data in {"model.safetensors": b"x", "b/config.json": b"{}", "README.md": b"#"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    text = hashed(tmp_path).manifest
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict"], input=text, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert checked.stdout.splitlines() == ["b/config.json: OK", "model.safetensors: OK"]
    assert hashed(tmp_path).digest == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@given(st.dictionaries(NAMES, SHA, min_size=1))
def test_a_manifest_reads_back_as_it_was_written(hashes: dict[str, str]) -> None:
    text = canonical(hashes)
    assert parse_manifest(text) == {path: sha for path, sha in hashes.items() if is_covered(path)}
    assert text_digest(text) == folder_digest(dict(reversed(hashes.items())))


@given(st.dictionaries(NAMES.filter(is_covered), SHA, min_size=1), st.data())
def test_any_change_of_a_covered_file_changes_the_digest(hashes: dict[str, str], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(hashes)))
    other = data.draw(SHA.filter(lambda sha: sha != hashes[path]))
    assert folder_digest(hashes | {path: other}) != folder_digest(hashes)
    assert folder_digest({p: s for p, s in hashes.items() if p != path}) != folder_digest(hashes)


@pytest.mark.parametrize(
    "text", ["x", "0  a.json\n", f"{'0' * 64}  b.json\n{'0' * 64}  a.json\n", f"{'0' * 64}  a.json"]
)
def test_what_is_not_canonical_is_no_manifest(text: str) -> None:
    with pytest.raises(ValueError, match="sorted by path"):
        parse_manifest(text)


@pytest.mark.parametrize(
    "path",
    [
        "../x.json",
        "/etc/x.json",
        "a/../../x.json",
        "a//x.json",
        "a\\x.json",
        "a/./x.json",
        "a\nb.json",
        "",
        "a/" * 6 + "x.json",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"leads out|control|too deep"):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["model.safetensors", "a/b/config.json", "matte.yaml", "labels.txt", "README.md", "LICENSE"]
)
def test_what_belongs_to_a_version_is_taken(path: str) -> None:
    assert exclusion_reason(path) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("pytorch_model.bin", "pickle"),
        ("model.PTH", "pickle"),
        ("data/model.pkl", "pickle"),
        ("birefnet.py", "not a part"),
        (".git/config.json", "hidden"),
        ("picture.png", "not a part"),
    ],
)
def test_everything_else_is_left_out_with_a_reason(path: str, why: str) -> None:
    assert why in (exclusion_reason(path) or "")


def test_a_deciding_file_with_an_odd_name_is_refused() -> None:
    with pytest.raises(ValueError, match="rename"):
        exclusion_reason("my model.safetensors")


def test_a_digest_is_predicted_only_from_hashes_that_are_all_known() -> None:
    known = {"a.json": "0" * 64, "m.safetensors": "1" * 64}
    assert predicted_digest([*known.items(), ("README.md", None)]) == folder_digest(known)
    assert predicted_digest([*known.items(), ("b.json", None)]) is None
    assert predicted_digest([("README.md", "0" * 64)]) is None
