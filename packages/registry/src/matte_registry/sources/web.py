"""``https://``: one file behind a URL, with its SHA-256. Also reads what else has HTTP and no client of its own."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
from matte_core.contracts.registry import Listing, Reason, RemoteFile

from matte_registry.download import Options, download
from matte_registry.errors import RegistryError, http_failure, unreachable
from matte_registry.manifest import folder_digest
from matte_registry.progress import OnProgress, ignore
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Scheme, Source
from matte_registry.sources.base import PIECE, ReadOnlyStore

_MAX_REDIRECTS = 5
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head)", re.IGNORECASE)
_FIX = "Is the address right, and may everybody read it?"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server says of a file before it is read."""

    size: int
    ranged: bool
    tag: str


class WebReader:
    """Reads one URL. Redirects lead to TLS only, unless the URL itself goes without.

    ``what`` stands for the URL in errors, which may be secret.
    """

    def __init__(
        self, url: str, what: str, fix: str, settings: RegistrySettings, headers: Mapping[str, str] | None = None
    ) -> None:
        self._url, self._what, self._fix = url, what, fix
        timeout = settings.download_timeout_seconds
        self._client = httpx2.Client(
            headers={"Accept-Encoding": "identity", **(headers or {})},
            timeout=httpx2.Timeout(timeout, connect=timeout / 6),
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
            event_hooks={"request": [] if url.startswith("http://") else [partial(_refuse_plain, what)]},
        )
        weakref.finalize(self, self._client.close)
        self.ranged = True

    def probe(self) -> Probe:
        """Asks for the first bytes. Raises RegistryError: unavailable, or a web page in place of the file."""
        with self._get({"Range": "bytes=0-511"}) as answer:
            start = next(answer.iter_bytes(512), b"")
            if answer.headers.get("Content-Type", "").startswith("text/html") or _PAGE.match(start):
                raise RegistryError(
                    Reason.SOURCE_INVALID,
                    f"{self._what}: the server sends a web page (HTML) in place of the file. Is a login or an error"
                    " page in the way?",
                )
            self.ranged = answer.status_code == httpx2.codes.PARTIAL_CONTENT
            found = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
            size = answer.headers.get("Content-Length", "") if not self.ranged else (found[1] if found else "")
            if not size.isdecimal():
                raise RegistryError(Reason.SOURCE_INVALID, f"{self._what}: the server does not say the file's size")
            return Probe(int(size), self.ranged, answer.headers.get("ETag", ""))

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``end``, in pieces; from a server without ranges, only whole files."""
        whole = start == 0 and end == file.size
        with self._get({} if whole else {"Range": f"bytes={start}-{end - 1}"}) as answer:
            if not whole and answer.status_code != httpx2.codes.PARTIAL_CONTENT:
                raise unreachable(self._what, "it does not send parts of files")
            yield from answer.iter_bytes(PIECE)

    def small(self, most: int, accept: str) -> bytes:
        """A whole document of at most ``most`` bytes."""
        data = bytearray()
        with self._get({"Accept": accept}) as answer:
            for piece in answer.iter_bytes(PIECE):
                data += piece
                if len(data) > most:
                    raise RegistryError(Reason.TOO_LARGE, f"{self._what}: more than {most / 1e6:.0f} MB")
        return bytes(data)

    @contextmanager
    def _get(self, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        try:
            with self._client.stream("GET", self._url, headers=headers) as answer:
                if answer.status_code >= 400:
                    raise http_failure(self._what, answer.status_code, self._fix)
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise RegistryError(Reason.SOURCE_INVALID, f"{self._what}: the server compresses the file")
                yield answer
        except httpx2.TooManyRedirects:
            raise RegistryError(Reason.SOURCE_INVALID, f"{self._what}: more than {_MAX_REDIRECTS} redirects") from None
        except httpx2.TimeoutException:
            raise unreachable(self._what, "no data came in time") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise unreachable(self._what, _cause(error)) from None


class WebFile(ReadOnlyStore):
    """A file of weights, as the only one of its version."""

    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        super().__init__(source, settings)
        self._path = weights_name(source)
        self._where = f"https://{source.host}/{source.path}"
        self._web = WebReader(self._where, self._where, _FIX, settings)

    def stated_digest(self) -> str | None:
        return folder_digest({self._path: self._source.version or ""})

    def resolve(self) -> Listing:
        found = self._web.probe()
        self.ranged = found.ranged
        file = RemoteFile(path=self._path, size=found.size, sha256=self._source.version)
        return Listing(source=str(self._source), files=(file,))

    def fetch(
        self, files: Sequence[RemoteFile], folder: Path, options: Options, on_progress: OnProgress = ignore
    ) -> dict[str, str]:
        found = self._web.probe()
        self.ranged = found.ranged
        for file in files:
            if file.size != found.size:
                raise RegistryError(
                    Reason.DIGEST_MISMATCH, f"{self._where} has {found.size} bytes, expected are {file.size}"
                )
        return download(self, files, folder, options, on_progress)

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        yield from self._web.read(file, start, end)


def weights_name(source: Source) -> str:
    """The name of the only file of a version: by its format, so that the digest does not depend on the place.

    Raises:
        RegistryError: FILE_REFUSED, its suffix is that of another format.
    """
    name = source.path.rpartition("/")[2]
    if name.endswith(".safetensors"):
        return "model.safetensors"
    if name.endswith(".onnx") or (source.scheme is Scheme.NPM and "." not in name):
        return "model.onnx"
    raise RegistryError(
        Reason.FILE_REFUSED, f"{source}: only .onnx and .safetensors are read. Other formats can run code"
    )


def _refuse_plain(what: str, request: httpx2.Request) -> None:
    if request.url.scheme != "https":
        raise RegistryError(
            Reason.SOURCE_INVALID, f"{what}: the server redirects to an address without TLS: refusing it"
        )


def _cause(error: Exception) -> str:
    """Without the address, which the client's messages may have."""
    text = str(error)
    return text if text and "://" not in text else type(error).__name__
