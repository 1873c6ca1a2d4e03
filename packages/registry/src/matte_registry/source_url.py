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
    CATALOG = "catalog"
    NPM = "npm"
    HTTPS = "https"


URL_FORMS = {
    Scheme.S3: "s3://BUCKET/FOLDER",
    Scheme.GS: "gs://BUCKET/FOLDER",
    Scheme.HF: "hf://ORG/REPO@REVISION",
    Scheme.MLFLOW: "mlflow://[HOST]/models/NAME/VERSION",
    Scheme.OCI: "oci://REGISTRY/REPOSITORY:TAG or …@sha256:DIGEST",
    Scheme.FILE: "file:///FOLDER",
    Scheme.PVC: "pvc://CLAIM/FOLDER",
    Scheme.CATALOG: "catalog://NAME@VERSION",
    Scheme.NPM: "npm://PACKAGE@VERSION/PATH",
    Scheme.HTTPS: "https://HOST/PATH#sha256=HEX",
}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PATH = rf"{_NAME}(?:/{_NAME})*"
#: exact: a range or a tag such as ``latest`` names other content tomorrow
_SEMVER = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?"
_NPM_NAME = r"[a-z0-9~][a-z0-9._~-]*"
#: of a path; neither a query nor a user, which may be a secret, fits in
_SEGMENT = r"[A-Za-z0-9._~%+@=,-]+"
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
    Scheme.CATALOG: re.compile(rf"(?P<host>)(?P<path>[a-z0-9][a-z0-9._-]*)(?:@(?P<version>{_SEMVER}))?"),
    Scheme.NPM: re.compile(
        rf"(?P<host>(?:@{_NPM_NAME}/)?{_NPM_NAME})@(?P<version>{_SEMVER})/(?P<path>{_SEGMENT}(?:/{_SEGMENT})*)"
    ),
    Scheme.HTTPS: re.compile(
        rf"(?P<host>{_NAME}(?::\d{{1,5}})?)/(?P<path>{_SEGMENT}(?:/{_SEGMENT})*)#sha256=(?P<version>[0-9a-f]{{64}})"
    ),
}
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source URL.

    ``host`` is a bucket, server, registry, claim or package; ``path`` a folder, repository, model or file;
    ``version`` a revision, tag or digest.
    """

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
            case Scheme.MLFLOW | Scheme.CATALOG | Scheme.NPM | Scheme.HTTPS:
                return self.version is not None
            case _:
                return False

    def at(self, version: str) -> Source:
        return replace(self, version=version)

    def __str__(self) -> str:
        at = f"@{self.version}" if self.version else ""
        match self.scheme:
            case Scheme.HF | Scheme.CATALOG:
                text = f"{self.path}{at}"
            case Scheme.MLFLOW:
                text = f"{self.host}/models/{self.path}" + (f"/{self.version}" if self.version else "")
            case Scheme.OCI:
                tag = f":{self.version}" if self.version else ""
                text = f"{self.host}/{self.path}" + (at if at.startswith("@sha256:") else tag)
            case Scheme.FILE:
                text = self.path
            case Scheme.NPM:
                text = f"{self.host}{at}/{self.path}"
            case Scheme.HTTPS:
                text = f"{self.host}/{self.path}#sha256={self.version}"
            case _:
                text = f"{self.host}/{self.path}".rstrip("/")
        return f"{self.scheme}://{text}"


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
