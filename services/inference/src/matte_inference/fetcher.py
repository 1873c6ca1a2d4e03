"""Downloads the weights of versions in the background of ``matte serve``, before anything of them is loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from matte_core.contracts.catalog import VersionConfig
from matte_core.domain.backoff import exponential_backoff
from matte_registry.errors import RegistryError
from matte_registry.policy import VerificationPolicy
from matte_registry.progress import Progress
from matte_registry.registry import Ready, Registry
from matte_registry.source_url import Scheme

from matte_inference.downloads import DownloadReporter

FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """The version is in the cache, which keeps it until ``ready`` is released. ``downloaded``: just now."""

    version: VersionConfig
    ready: Ready
    downloaded: bool


@dataclass(frozen=True, slots=True)
class FetchError:
    """``final``: trying again would not help while nothing is changed."""

    version: VersionConfig
    text: str
    final: bool


class _StoppedError(Exception):
    pass


def needs_download(version: VersionConfig) -> bool:
    scheme, mark, _ = (version.source or "").partition("://")
    return bool(mark) and scheme not in {Scheme.FILE, Scheme.PVC}


class Fetcher:
    """One thread per version. ``put`` gets what came of a download, from its thread."""

    def __init__(self, registry: Registry, reporter: DownloadReporter, put: Callable[[Fetched | FetchError], None]):
        self._registry = registry
        self._reporter = reporter
        self._put = put
        self._stopped = False
        self._retries = 0
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def fetch(self, version: VersionConfig) -> None:
        """Downloads the version, again and again while its source is away."""
        thread = threading.Thread(target=self._run, args=[version], name=f"fetch-{version.app}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def retry(self) -> None:
        """Tries those that wait for their source again now."""
        with self._changed:
            self._retries += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the downloads with their next bytes; what they have is kept, and the next start resumes them."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, version: VersionConfig) -> None:
        digest = version.digest or version.parameters.get("digest")
        report, attempt, said, downloaded = self._reporter.on_progress(version), 0, "", False

        def on_progress(progress: Progress) -> None:
            nonlocal downloaded
            if self._stopped:
                raise _StoppedError
            downloaded = True
            report(progress)

        report(Progress(0, 0))
        while True:
            attempt += 1
            try:
                ready = self._registry.ensure(version.source or "", VerificationPolicy(digest=digest), on_progress)
            except _StoppedError:
                return
            except Exception as error:  # also a disk that is full: nothing of it concerns the other versions
                transient = isinstance(error, RegistryError) and error.transient
                text = f"{error.reason}: {error}" if isinstance(error, RegistryError) else f"{error}"
                self._reporter.fail(version, text)
                if not transient or text != said:
                    said = text
                    self._put(FetchError(version, text, final=not transient))
                if not transient or not self._wait(attempt):
                    return
            else:
                self._put(Fetched(version, ready, downloaded))
                return

    def _wait(self, attempt: int) -> bool:
        """False if this was stopped meanwhile."""
        seconds = exponential_backoff(attempt, FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        with self._changed:
            retries = self._retries
            self._changed.wait_for(lambda: self._stopped or self._retries > retries, seconds)
            return not self._stopped
