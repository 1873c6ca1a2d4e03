"""``s3://`` and ``gs://``: folders in buckets, through obstore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from matte_core.contracts.registry import Listing, Reason, RemoteFile, StoredVersion
from obstore import exceptions
from obstore.store import GCSStore, S3Store

from matte_registry.errors import RegistryError, http_failure, unreachable
from matte_registry.manifest import MANIFEST_FILE, METADATA_FILE, text_digest
from matte_registry.progress import Tally
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Scheme, Source
from matte_registry.sources.base import PIECE, Store, Upload

_MAX_LISTED = 100_000
_FIX = {
    Scheme.S3: "Give the pod a role or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that may list and read the bucket",
    Scheme.GS: "Give the pod an account (workload identity, or GOOGLE_SERVICE_ACCOUNT_KEY) that may read the bucket",
}


class Objects(Store):
    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        super().__init__(source, settings)
        self._fix = _FIX[source.scheme]
        timeout = timedelta(seconds=settings.download_timeout_seconds)
        kind: Any = S3Store if source.scheme is Scheme.S3 else GCSStore
        with self._errors():  # credentials are read here
            self._bucket = kind(
                source.host,
                prefix=source.path or None,
                client_options={
                    "allow_http": settings.bucket_plain_http,
                    "connect_timeout": timeout / 6,
                    "timeout": timeout * 5,
                },
                retry_config={"max_retries": 3, "retry_timeout": timeout},
            )

    def resolve(self) -> Listing:
        with self._errors():
            entries = (entry for batch in obstore.list(self._bucket) for entry in batch)
            listing = self._listing(
                RemoteFile(path=entry["path"], size=entry["size"], tag=entry["e_tag"] or "")
                for entry in entries
                if not entry["path"].endswith("/")
            )
        if not listing.files and not listing.excluded:
            raise RegistryError(
                Reason.SOURCE_NOT_FOUND, f"{self._source}: there is nothing. Correct source, or push the version there"
            )
        return listing

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        options: dict[str, Any] = {"range": (start, end)} | ({"if_match": file.tag} if file.tag else {})
        with self._errors(file.path):
            for piece in obstore.get(self._bucket, file.path, options=options).stream(min_chunk_size=PIECE):  # type: ignore[arg-type]
                yield bytes(piece)

    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:
        with self._errors():
            if any(True for batch in obstore.list(self._bucket) for _ in batch):
                raise RegistryError(
                    Reason.SOURCE_INVALID,
                    f"{self._source} is not empty: a version never changes, publish it under another name",
                )
            for upload in uploads:
                obstore.put(self._bucket, upload.file.path, upload.local)
                tally.add(upload.file.size)
        return str(self._source)

    def versions(self) -> Iterator[StoredVersion]:
        sizes: dict[str, int] = {}
        known: dict[str, set[str]] = {}
        with self._errors():
            for number, entry in enumerate(e for batch in obstore.list(self._bucket) for e in batch):
                if number >= _MAX_LISTED:
                    break
                below, _, name = entry["path"].rpartition("/")
                sizes[below] = sizes.get(below, 0) + entry["size"]
                known.setdefault(below, set()).add(name)
            for below in sorted(path for path, names in known.items() if METADATA_FILE in names):
                text = ""
                if MANIFEST_FILE in known[below]:
                    path = f"{below}/{MANIFEST_FILE}" if below else MANIFEST_FILE
                    text = bytes(obstore.get(self._bucket, path).bytes()).decode()
                yield StoredVersion(
                    source=f"{str(self._source).rstrip('/')}/{below}".rstrip("/"),
                    digest=text_digest(text) if text else None,
                    size=sizes[below],
                    label=below.rpartition("/")[2] or None,
                )

    @contextmanager
    def _errors(self, path: str = "") -> Iterator[None]:
        what = self._url_of(path)
        try:
            yield
        except FileNotFoundError:
            raise http_failure(what, 404, self._fix) from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise http_failure(what, 403, self._fix) from None
        except exceptions.PreconditionError:
            raise http_failure(what, 412, "") from None
        except exceptions.BaseError as error:
            text = str(error)
            if "credential" in text.lower() or "403" in text or "InvalidAccessKeyId" in text:
                raise http_failure(what, 403, self._fix) from None
            raise unreachable(what, text.split("\n\n", maxsplit=1)[0][:300]) from None
