"""URLs of model sources."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum


class Scheme(StrEnum):
    S3 = "s3"
    GS = "gs"
    HF = "hf"
    MLFLOW = "mlflow"
    OCI = "oci"
    FILE = "file"
    PVC = "pvc"


URL_FORMS = {
    Scheme.S3: "s3://BUCKET/FOLDER",
    Scheme.GS: "gs://BUCKET/FOLDER",
    Scheme.HF: "hf://ORG/REPO@REVISION",
    Scheme.MLFLOW: "mlflow://[HOST]/models/NAME/VERSION",
    Scheme.OCI: "oci://REGISTRY/REPOSITORY:TAG or …@sha256:DIGEST",
    Scheme.FILE: "file:///FOLDER",
    Scheme.PVC: "pvc://CLAIM/FOLDER",
}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PATH = rf"{_NAME}(?:/{_NAME})*"
_PATTERNS = {
    Scheme.S3: re.compile(rf"(?P<host>{_NAME})/?(?P<path>(?:{_PATH})?)/?(?P<version>)"),
    Scheme.GS: re.compile(rf"(?P<host>{_NAME})/?(?P<path>(?:{_PATH})?)/?(?P<version>)"),
    Scheme.HF: re.compile(rf"(?P<host>)(?P<path>{_NAME}/{_NAME})(?:@(?P<version>{_PATH}))?"),
    Scheme.MLFLOW: re.compile(rf"(?P<host>(?:{_NAME}(?::\d+)?)?)/models/(?P<path>[^/\s@?#%]+)(?:/(?P<version>\d+))?"),
    Scheme.OCI: re.compile(
        rf"(?P<host>{_NAME}(?::\d+)?)/(?P<path>[a-z0-9][a-z0-9._/-]*)"
        r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<version>sha256:[0-9a-f]{64}))?"
    ),
    Scheme.FILE: re.compile(r"(?P<host>)(?P<path>/[^\s?#]*)(?P<version>)"),
    Scheme.PVC: re.compile(rf"(?P<host>[a-z0-9][a-z0-9.-]*)/?(?P<path>(?:{_PATH})?)/?(?P<version>)"),
}
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source URL: bucket, server, registry or claim; folder, repository or model; revision, tag or digest."""

    scheme: Scheme
    host: str
    path: str
    version: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether the URL always names the same content."""
        match self.scheme:
            case Scheme.HF:
                return bool(self.version and _COMMIT.fullmatch(self.version))
            case Scheme.OCI:
                return bool(self.version and self.version.startswith("sha256:"))
            case Scheme.MLFLOW:
                return self.version is not None
            case _:
                return False

    def at(self, version: str) -> Source:
        return replace(self, version=version)

    def __str__(self) -> str:
        match self.scheme:
            case Scheme.HF:
                return f"hf://{self.path}" + (f"@{self.version}" if self.version else "")
            case Scheme.MLFLOW:
                return f"mlflow://{self.host}/models/{self.path}" + (f"/{self.version}" if self.version else "")
            case Scheme.OCI:
                mark = "" if not self.version else ("@" if self.version.startswith("sha256:") else ":")
                return f"oci://{self.host}/{self.path}{mark}{self.version or ''}"
            case Scheme.FILE:
                return f"file://{self.path}"
            case _:
                return f"{self.scheme}://{self.host}/{self.path}".rstrip("/")


def parse_source(text: str) -> Source:
    """Parses a source URL; an absolute path is a ``file://`` URL. Raises ValueError that names the supported forms."""
    name, mark, rest = ("file", "://", text) if text.startswith("/") else text.partition("://")
    if not mark or name not in set(Scheme):
        raise ValueError(f"source {text!r} is none of {'; '.join(URL_FORMS.values())}")
    scheme = Scheme(name)
    match = _PATTERNS[scheme].fullmatch(rest)
    if match is None or ".." in rest.split("/"):
        raise ValueError(f"source {text!r} is not of the shape {URL_FORMS[scheme]}")
    parts = match.groupdict()
    path = parts["path"] if scheme is Scheme.FILE and parts["path"] == "/" else parts["path"].rstrip("/")
    return Source(scheme, parts["host"], path, parts["version"] or parts.get("tag") or None)
