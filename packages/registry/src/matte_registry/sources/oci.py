"""``oci://``: artifacts in an OCI registry, a layer per file, through oras.

The layers' titles (``org.opencontainers.image.title``) are the paths, as in every artifact that ``oras push`` makes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import oras.auth
import requests
from matte_core.contracts.registry import Listing, Reason, RemoteFile, StoredVersion
from oras.container import Container
from oras.provider import Registry

from matte_registry.errors import RegistryError, http_failure, unreachable
from matte_registry.progress import Tally
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Source
from matte_registry.sources.base import PIECE, Store, Upload

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.matte.model.v1"
FILE_TYPE = "application/vnd.matte.file.v1"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
_EMPTY = b"{}"
_MAX_MANIFEST = 4 << 20
_FIX = "Give MATTE_OCI_CONFIG (a Docker config.json) or MATTE_OCI_USERNAME and MATTE_OCI_PASSWORD"


class _Client(Registry):  # type: ignore[misc]
    """oras' client: asked once (who asks decides about more), with a timeout, and with a new token for an old one."""

    def __init__(self, host: str, settings: RegistrySettings) -> None:
        super().__init__(host, insecure=settings.is_plain(host))
        self.session.request = functools.partial(self.session.request, timeout=settings.download_timeout_seconds)

    def do_request(self, *args: Any, **more: Any) -> Any:
        once = Registry.do_request.__wrapped__
        had_token = getattr(self.auth, "token", None)
        answer = once(self, *args, **more)
        if answer.status_code == 401 and had_token and more.get("data") is None:
            self.auth.token = None
            answer = once(self, *args, **more)
        return answer


class Oci(Store):
    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        super().__init__(source, settings)
        self._client = _Client(source.host, settings)
        self._place = Container(f"{source.host}/{source.path}")
        self._url = f"{self._client.prefix}://{source.host}/v2/{source.path}"
        if settings.oci_username and settings.oci_password:
            self._client.auth.set_basic_auth(settings.oci_username, settings.oci_password.get_secret_value())
        else:
            configs = [str(settings.oci_config)] if settings.oci_config else None
            self._client.auth.load_configs(self._place, configs=configs)

    def resolve(self) -> Listing:
        """As in :class:`Store`; a tag is pinned to its digest, and every file's hash is known."""
        tag = self._source.version or "latest"
        content = self._request("GET", f"/manifests/{tag}", {"Accept": MANIFEST_TYPE}).content
        digest = _sha(content)
        if len(content) > _MAX_MANIFEST or (tag.startswith("sha256:") and tag != digest):
            raise RegistryError(
                Reason.DIGEST_MISMATCH, f"{self._source}: the registry sent another manifest, with the digest {digest}"
            )
        self._source = self._source.at(digest)
        with self._errors(str(self._source)):
            manifest = json.loads(content)
        layers = manifest.get("layers") if isinstance(manifest, dict) else None
        try:
            files = [_remote(layer) for layer in layers or () if _TITLE in (layer.get("annotations") or {})]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RegistryError(Reason.SOURCE_INVALID, f"{self._source}: its manifest is not an OCI one") from None
        return self._listing(iter(files))

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        with (
            self._errors(f"{self._source} {file.path}"),
            self._request("GET", f"/blobs/sha256:{file.sha256}", headers, stream=True) as answer,
        ):
            if answer.status_code == 200 and start > 0:
                raise RegistryError(Reason.SOURCE_INVALID, f"{self._source.host} does not send parts of blobs")
            yield from answer.iter_content(PIECE)

    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:
        layers = []
        for upload in uploads:
            file, digest = upload.file, f"sha256:{upload.file.sha256}"
            with upload.local.open("rb") as opened:
                self._upload(digest, opened if file.size else b"")
            annotations = {_TITLE: file.path}
            layers.append({"mediaType": FILE_TYPE, "digest": digest, "size": file.size, "annotations": annotations})
            tally.add(file.size)
        self._upload(_sha(_EMPTY), _EMPTY)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": EMPTY_TYPE, "digest": _sha(_EMPTY), "size": len(_EMPTY)},
            "layers": layers,
        }
        content = json.dumps(manifest, sort_keys=True).encode()
        name = self._source.version or "latest"
        self._request("PUT", f"/manifests/{name}", {"Content-Type": MANIFEST_TYPE}, data=content)
        return str(self._source.at(_sha(content)))

    def _upload(self, digest: str, data: Any) -> None:
        """A blob that the registry does not have yet, in one piece as the registry asks for it."""
        if self._client.blob_exists({"digest": digest}, self._place):
            return
        begun = self._request("POST", "/blobs/uploads/", {"Content-Length": "0"})
        where = self._client._get_location(begun, self._place)
        mark = "&" if "?" in where else "?"
        self._request("PUT", f"{where}{mark}digest={digest}", {"Content-Type": "application/octet-stream"}, data=data)

    def versions(self) -> Iterator[StoredVersion]:
        with self._errors(str(self._source)):
            tags = [str(tag) for tag in self._request("GET", "/tags/list", {}).json().get("tags") or ()]
        for tag in tags:
            yield StoredVersion(source=str(self._source.at(tag)), label=tag)

    def _request(self, method: str, path: str, headers: dict[str, str], **more: Any) -> Any:
        url = path if path.startswith("http") else self._url + path
        what = f"{self._source} at {self._client.prefix}://{self._source.host}"
        with self._errors(what):
            answer = self._client.do_request(url, method, headers=headers, **more)
        if answer.status_code >= 400:
            raise http_failure(what, answer.status_code, _FIX)
        return answer

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, OSError) as error:
            raise unreachable(what, error) from None
        except (oras.auth.AuthenticationException, ValueError):
            raise http_failure(what, 401, _FIX) from None


def _sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _remote(layer: dict[str, Any]) -> RemoteFile:
    path, digest = layer["annotations"][_TITLE], str(layer["digest"])
    return RemoteFile(path=path, size=layer["size"], sha256=digest.removeprefix("sha256:"), tag=digest)
