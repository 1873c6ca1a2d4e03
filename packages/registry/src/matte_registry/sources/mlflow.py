"""``mlflow://``: versions in MLflow's model registry, through mlflow-skinny.

Artifacts that the server itself hands out are read from it; those in a bucket are read from the bucket.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import requests
from matte_core.contracts.registry import Listing, Reason, RemoteFile, StoredVersion
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from matte_registry.errors import RegistryError, http_failure, unreachable
from matte_registry.progress import Tally
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Source, parse_source
from matte_registry.sources.base import PIECE, Store, Upload
from matte_registry.sources.local import LocalFolder
from matte_registry.sources.objects import Objects

_FIX = "Are MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, right?"


class Mlflow(Store):
    """A version of a registered model, or the model where one is pushed."""

    ranged = False  # MLflow's server sends whole files; a bucket behind it is asked for parts

    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)  # by itself it tries for minutes; who asks decides about more
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
        for name in ("mlflow", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        super().__init__(source, settings)
        self._server = settings.mlflow_url or ""
        if source.host:
            self._server = f"{'http' if settings.is_plain(source.host) else 'https'}://{source.host}"
        elif settings.mlflow_url is None:
            detail = f"{source} names no server: write mlflow://HOST/models/…, or set MATTE_MLFLOW_URL"
            raise RegistryError(Reason.SOURCE_INVALID, detail)
        self._client = MlflowClient(tracking_uri=self._server, registry_uri=self._server)
        self._behind: Store | None = None
        self._artifacts: Any = None

    def resolve(self) -> Listing:
        if self._source.version is None:
            raise RegistryError(Reason.SOURCE_INVALID, f"{self._source} names no version: add it, as in …/3")
        with self._errors():
            uri = self._client.get_model_version_download_uri(self._source.path, self._source.version)
        if uri.startswith(("s3://", "gs://", "file://", "/")):
            try:
                place = parse_source(uri)
            except ValueError as error:
                raise RegistryError(Reason.SOURCE_INVALID, f"{self._source}: {error}") from None
            kind = Objects if uri.startswith(("s3://", "gs://")) else LocalFolder
            self._behind, self.ranged = kind(place, self._settings), True
            return self._behind.resolve().model_copy(update={"source": str(self._source)})
        with self._errors():
            self._artifacts = get_artifact_repository(uri, tracking_uri=self._server, registry_uri=self._server)
            if not isinstance(self._artifacts, HttpArtifactRepository):
                raise RegistryError(
                    Reason.SOURCE_INVALID,
                    f"{self._source} keeps its files at {uri.partition('://')[0]}://, which is not read here:"
                    " use a server that hands out artifacts itself (mlflow server --serve-artifacts), s3 or gs",
                )
            return self._listing(self._walk(""))

    def _walk(self, folder: str) -> Iterator[RemoteFile]:
        for entry in self._artifacts.list_artifacts(folder or None):
            if not str(entry.path).startswith(folder):
                raise RegistryError(Reason.FILE_REFUSED, f"{entry.path!r} is not in {folder}")
            if entry.is_dir:
                yield from self._walk(entry.path)
            else:
                yield RemoteFile(path=entry.path, size=entry.file_size or 0)

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        if self._behind is not None:
            yield from self._behind.read(file, start, end)
            return
        creds = get_default_host_creds(self._artifacts.artifact_uri)
        timeout = self._settings.download_timeout_seconds
        with self._errors(file.path):
            answer = http_request(
                creds, "/" + quote(file.path), "GET", stream=True, timeout=timeout, raise_on_status=False
            )
            with answer:
                if answer.status_code >= 400:
                    raise http_failure(f"{self._source}/{file.path}", answer.status_code, _FIX)
                yield from answer.iter_content(PIECE)

    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:
        """As in :class:`Store`: the artifacts of a run, and then the version that the server numbers."""
        with self._errors():
            found = self._client.get_experiment_by_name("matte")
            run = self._client.create_run(
                str(found.experiment_id if found else self._client.create_experiment("matte"))
            )
            uri = f"{run.info.artifact_uri}/model"
            artifacts = get_artifact_repository(uri, tracking_uri=self._server, registry_uri=self._server)
            for upload in uploads:
                parent = upload.file.path.rpartition("/")[0]
                artifacts.log_artifact(str(upload.local), parent or None)
                tally.add(upload.file.size)
            self._client.set_terminated(run.info.run_id)
            try:
                self._client.create_registered_model(self._source.path)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            made = self._client.create_model_version(
                self._source.path, source=uri, run_id=run.info.run_id, await_creation_for=None
            )
        return str(self._source.at(str(made.version)))

    def versions(self) -> Iterator[StoredVersion]:
        with self._errors():
            name = self._source.path.replace("'", "")
            found = list(self._client.search_model_versions(f"name='{name}'"))
        for version in found:
            yield StoredVersion(source=str(self._source.at(str(version.version))), label=str(version.version))

    @contextmanager
    def _errors(self, path: str = "") -> Iterator[None]:
        what = self._url_of(path)
        try:
            yield
        except requests.HTTPError as error:
            status = 500 if error.response is None else error.response.status_code
            raise http_failure(what, status, _FIX) from None
        except (requests.RequestException, OSError) as error:
            raise unreachable(f"{what} at {self._server}", error) from None
        except MlflowException as error:
            status = error.get_http_status_code()
            if status == 500:  # what it also says where nobody answers
                raise unreachable(f"{what} at {self._server}", str(error)[:300]) from None
            raise http_failure(f"{what} ({str(error)[:200]})", status, _FIX) from None
