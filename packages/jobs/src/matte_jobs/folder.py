"""A folder as an object store, for one machine.

An object store's library goes to its own threads and back four times for what the page cache answers at once: twice the
CPU of a picture's way through files, in the processes that have the least to spare.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: another process may delete an object's empty folder just before it is written into
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Folder:
    """Objects as files ``{root}/{key}``. An object is there whole or not at all. Every call raises OSError."""

    root: Path

    @classmethod
    def at(cls, url: str) -> Folder:
        """``file:///folder``, which is made."""
        root = Path(unquote(urlsplit(url).path))
        root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    def write(self, key: str, data: bytes) -> None:
        """Stores an object, or another one in its place."""
        path = self.root / key
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            self._put(part, data)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise

    def _put(self, part: Path, data: bytes) -> None:
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                part.write_bytes(data)
                return
            part.parent.mkdir(parents=True, exist_ok=True)
        raise OSError(f"{part.parent} goes away again and again")

    def read(self, key: str) -> bytes:
        """The bytes. FileNotFoundError: they are gone."""
        return (self.root / key).read_bytes()

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects, and the folders that are empty then; those that are gone already are fine."""
        for key in keys:
            path = self.root / key
            path.unlink(missing_ok=True)
            with suppress(OSError):  # it has other objects
                path.parent.rmdir()
