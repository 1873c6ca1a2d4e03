"""What goes wrong with a version, in words and as a reason for programs."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matte_core.contracts.registry import Reason


class RegistryError(Exception):
    """A version cannot be had. The message names the cause and what to do; ``reason`` is stable, for programs."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[RegistryError], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))

    @property
    def transient(self) -> bool:
        """Whether trying again may help, with nothing changed."""
        return self.reason in {Reason.SOURCE_UNAVAILABLE, Reason.CACHE_FULL}


def http_failure(what: str, status: int, fix: str) -> RegistryError:
    if status in {401, 403}:
        return RegistryError(Reason.ACCESS_DENIED, f"{what}: access denied (HTTP {status}). {fix}")
    if status in {404, 410}:
        return RegistryError(
            Reason.SOURCE_NOT_FOUND, f"{what}: not found (HTTP {status}). Correct source; if it is private: {fix}"
        )
    if status == 412:
        return RegistryError(Reason.SOURCE_CHANGED, f"{what}: changed while it was read. Publish a new version instead")
    if status in {408, 429} or status >= 500:
        return RegistryError(Reason.SOURCE_UNAVAILABLE, f"{what}: the server answered HTTP {status}. Try again later")
    return RegistryError(Reason.SOURCE_INVALID, f"{what}: the server answered HTTP {status}. {fix}")


def unreachable(what: str, cause: object) -> RegistryError:
    return RegistryError(Reason.SOURCE_UNAVAILABLE, f"{what}: cannot be reached ({cause}). Is the address right?")


def missing_folder(folder: Path) -> RegistryError:
    return RegistryError(
        Reason.WEIGHTS_MISSING,
        f"there is no folder {folder}: put the version's files there (in Kubernetes, into the volume that the"
        " Pool mounts), or correct source",
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raises RegistryError (CACHE_FULL) for a disk that is full while it is written to."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise RegistryError(
            Reason.CACHE_FULL, f"the disk of {folder} is full: free some of it, or use a folder on a larger one"
        ) from None
