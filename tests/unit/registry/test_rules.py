"""Addresses, licenses and metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matte_core.contracts.registry import Reason
from matte_core.domain.license import license_refusal
from matte_inference.families.unet import MODELS
from matte_registry.errors import RegistryError
from matte_registry.folder import parse_metadata, read_metadata
from matte_registry.source_url import Scheme, parse_source

DIGEST = "sha256:" + "a" * 64
COMMIT = "b" * 40
HASH = "sha256=" + "a" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://bucket/a/b-1.0", (Scheme.S3, "bucket", "a/b-1.0", None)),
        ("gs://bucket/a", (Scheme.GS, "bucket", "a", None)),
        ("hf://org/repo@main", (Scheme.HF, "", "org/repo", "main")),
        ("hf://org/repo@refs/pr/1", (Scheme.HF, "", "org/repo", "refs/pr/1")),
        ("hf://org/repo", (Scheme.HF, "", "org/repo", None)),
        ("mlflow://host:5000/models/cut/3", (Scheme.MLFLOW, "host:5000", "cut", "3")),
        ("mlflow:///models/cut/3", (Scheme.MLFLOW, "", "cut", "3")),
        ("oci://127.0.0.1:5000/team/cut:1.0", (Scheme.OCI, "127.0.0.1:5000", "team/cut", "1.0")),
        (f"oci://ghcr.io/team/cut@{DIGEST}", (Scheme.OCI, "ghcr.io", "team/cut", DIGEST)),
        (f"oci://ghcr.io/team/cut:1.0@{DIGEST}", (Scheme.OCI, "ghcr.io", "team/cut", DIGEST)),
        ("file:///models/cut", (Scheme.FILE, "", "/models/cut", None)),
        ("/models/cut/", (Scheme.FILE, "", "/models/cut", None)),
        ("pvc://weights/cut/2", (Scheme.PVC, "weights", "cut/2", None)),
        ("catalog://isnet", (Scheme.CATALOG, "", "isnet", None)),
        ("catalog://rmbg-1.4@1.0.0", (Scheme.CATALOG, "", "rmbg-1.4", "1.0.0")),
        ("npm://cut@1.2.3/dist/a.onnx", (Scheme.NPM, "cut", "dist/a.onnx", "1.2.3")),
        ("npm://@a/b-c@1.2.3-rc.1/models/medium", (Scheme.NPM, "@a/b-c", "models/medium", "1.2.3-rc.1")),
        (f"https://h.example:8443/a/b.onnx#{HASH}", (Scheme.HTTPS, "h.example:8443", "a/b.onnx", "a" * 64)),
    ],
)
def test_an_address_has_parts_and_reads_back(text: str, parts: tuple[object, ...]) -> None:
    source = parse_source(text)
    assert (source.scheme, source.host, source.path, source.version) == parts
    assert parse_source(str(source)) == source


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "models/cut",
            "http://x/y",
            "https://x/y",
            "npm://x/y",
            "npm://x@latest/y",
            "npm://x@1.0.0",
            "npm://x@1.0.0/../y",
            "catalog://A",
            "catalog://a@latest",
            "s3://",
            "s3://b/../c",
            "s3://key:secret@b/c",
            "hf://repo",
            "hf://a/b/c",
        ),
        *("oci://host", "oci://h/a@sha256:12", "oci://h/A", "mlflow://host/cut/3", "mlflow://h/models/a/latest"),
        *("file://models", "file:///a/../b", "pvc:///x", "s3://b/a?x=1", f"http://x/y#{HASH}", f"https://x/#{HASH}"),
        *(
            f"https://u:p@x/y#{HASH}",
            f"https://x/y?k=v#{HASH}",
            "https://x/y#md5=" + "a" * 32,
            f"https://x/../y#{HASH}",
        ),
    ],
)
def test_other_addresses_are_refused_with_the_shapes(text: str) -> None:
    with pytest.raises(ValueError, match="://"):
        parse_source(text)


@given(st.text(max_size=60))
def test_no_address_leads_upwards(text: str) -> None:
    for scheme in Scheme:
        try:
            source = parse_source(f"{scheme}://{text}")
        except ValueError:
            continue
        assert ".." not in source.path.split("/")


def test_what_is_pinned_by_its_address() -> None:
    pinned = {
        text: parse_source(text).pinned for text in (f"hf://a/b@{COMMIT}", "hf://a/b@main", f"oci://h/a@{DIGEST}")
    }
    assert list(pinned.values()) == [True, False, True]


ALLOWED = ["MIT", "Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"]


@pytest.mark.parametrize(
    "license",
    [
        *("MIT", "apache-2.0", "MIT OR GPL-3.0-only", "MIT AND Apache-2.0", "(GPL-3.0-only OR MIT) AND Apache-2.0"),
        *("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-3.0-only AND X OR MIT"),
    ],
)
def test_licenses_that_are_allowed(license: str) -> None:
    assert license_refusal(license, ALLOWED) is None


@pytest.mark.parametrize(
    ("license", "word"),
    [
        ("CC-BY-NC-4.0", "not allowed"),
        ("MIT AND CC-BY-NC-4.0", "not allowed"),
        ("GPL-2.0-only", "not allowed"),
        ("GPL-3.0-only AND (X OR MIT)", "not allowed"),
        (None, "does not say"),
        ("other", "does not say"),
        ("MIT OR", "SPDX"),
        ("MIT Apache-2.0", "SPDX"),
        ("(MIT", "SPDX"),
        ("MIT; X", "SPDX"),
    ],
)
def test_licenses_that_are_refused_say_what_is_allowed(license: str | None, word: str) -> None:
    why = license_refusal(license, ALLOWED)
    assert why is not None
    assert word in why
    assert "Apache-2.0" in why


def test_without_a_list_everything_is_allowed() -> None:
    assert license_refusal(None, []) is None


@pytest.mark.parametrize("folder", sorted(MODELS.glob("*/")), ids=lambda p: p.name)
def test_the_bundled_sheets_fit_the_contract(folder) -> None:  # type: ignore[no-untyped-def]
    metadata = read_metadata(folder)
    assert metadata is not None
    assert metadata.family == "unet"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("family: unet", "license"),
        ("family: unet\nlicense: MIT\nnonsense: 1", "nonsense"),
        ("family: unet\nlicense: MIT\nsize: 3", "size"),
        ("family: unet\nlicense: MIT\nmean: [0, 0, 0]", "std"),
        ("- a", "the file"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
        ("family: " + "x" * 300_000, "bytes"),
    ],
)
def test_a_wrong_sheet_is_told_by_field(text: str, word: str) -> None:
    with pytest.raises(RegistryError, match=word) as caught:
        parse_metadata(text.encode(), "s3://b/matte.yaml")
    assert caught.value.reason is Reason.METADATA_INVALID
