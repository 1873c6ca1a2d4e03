"""``hf://``: repositories of a Hugging Face hub, through huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)
from matte_core.contracts.registry import Listing, Reason, RemoteFile, StoredVersion

from matte_registry.errors import RegistryError, http_failure, unreachable
from matte_registry.progress import Tally
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Source
from matte_registry.sources.base import PIECE, Store, Upload

_FIX = "Give MATTE_HUB_TOKEN of an account that may read it (and has accepted its terms, where it is gated)"


class Hub(Store):
    """A repository at a revision. Weights are read over HTTP ranges, no matter how the hub stores them."""

    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        super().__init__(source, settings)
        self._endpoint, self._timeout = settings.hub_url.rstrip("/"), settings.download_timeout_seconds
        self._token = settings.hub_token.get_secret_value() if settings.hub_token else None
        self._api = HfApi(endpoint=self._endpoint, token=self._token)

    def resolve(self) -> Listing:
        """As in :class:`Store`; the revision is pinned to its commit."""
        with self._errors():
            commit = self._api.model_info(self._source.path, revision=self._source.version, timeout=self._timeout).sha
            if commit is None:
                raise unreachable(str(self._source), "the hub does not say its commit")
            self._source = self._source.at(commit)
            tree = self._api.list_repo_tree(self._source.path, recursive=True, revision=commit)
            files = (entry for entry in tree if isinstance(entry, RepoFile))
            return self._listing(
                RemoteFile(path=f.path, size=f.size, sha256=f.lfs.sha256 if f.lfs else None, tag=f.blob_id)
                for f in files
            )

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        url = hf_hub_url(self._source.path, file.path, revision=self._source.version, endpoint=self._endpoint)
        headers = build_hf_headers(token=self._token) | {
            "Range": f"bytes={start}-{end - 1}",
            "Accept-Encoding": "identity",
        }
        with (
            self._errors(file.path),
            get_session().stream("GET", url, headers=headers, timeout=self._timeout, follow_redirects=True) as answer,
        ):
            if answer.status_code == httpx2.codes.OK and start > 0:
                raise unreachable(f"{self._source}/{file.path}", "it does not send parts of files")
            hf_raise_for_status(answer)
            yield from answer.iter_bytes(PIECE)

    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:
        """As in :class:`Store`: one commit, with all of it or nothing."""
        additions = [CommitOperationAdd(upload.file.path, str(upload.local)) for upload in uploads]
        with self._errors():
            self._api.create_repo(self._source.path, private=True, exist_ok=True)
            made = self._api.create_commit(
                self._source.path, additions, commit_message="A model version of Matte", revision=self._source.version
            )
        tally.add(sum(upload.file.size for upload in uploads))
        return str(self._source.at(made.oid))

    def versions(self) -> Iterator[StoredVersion]:
        with self._errors():
            refs = self._api.list_repo_refs(self._source.path)
        for ref in [*refs.tags, *refs.branches]:
            yield StoredVersion(source=str(self._source.at(ref.target_commit)), label=ref.name)

    @contextmanager
    def _errors(self, path: str = "") -> Iterator[None]:
        what = self._url_of(path)
        try:
            yield
        except HfHubHTTPError as error:
            raise http_failure(what, error.response.status_code, _FIX) from None
        except HFValidationError as error:
            raise RegistryError(Reason.SOURCE_INVALID, f"{what}: {error}") from None
        except (httpx2.HTTPError, OSError) as error:
            raise unreachable(f"{what} at {self._endpoint}", error or type(error).__name__) from None
