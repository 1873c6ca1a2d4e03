"""The tensors of a safetensors file, from its header alone.

Source: the format's description, https://github.com/huggingface/safetensors#format: eight bytes with the length of a
JSON header, little endian, then the header, then the values.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

from matte_core.contracts.registry import Reason, RemoteFile

from matte_registry.errors import RegistryError
from matte_registry.sources.base import Store

_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 100_000_000


@dataclass(frozen=True, slots=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


def read_tensors(store: Store, file: RemoteFile) -> dict[str, Tensor]:
    """The tensors by name. Raises RegistryError if the header is broken, or from the source."""
    if store.ranged:
        head = b"".join(store.read(file, 0, min(8, file.size)))
        return parse_header(head + b"".join(store.read(file, 8, header_end(head, file))), file)
    data = bytearray()
    for piece in store.read(file, 0, file.size):
        data += piece
        if len(data) >= header_end(bytes(data[:8]), file):
            break
    return parse_header(bytes(data), file)


def header_end(head: bytes, file: RemoteFile) -> int:
    """Where the header ends, from the first eight bytes. Raises RegistryError if the file is shorter."""
    end = _LENGTH.size + (_LENGTH.unpack(head[:8])[0] if len(head) >= 8 else file.size)
    if end > min(file.size, _MAX_HEADER):
        raise _broken(file)
    return int(end)


def parse_header(data: bytes, file: RemoteFile) -> dict[str, Tensor]:
    """The tensors that a header names. Raises RegistryError if it is broken."""
    end = header_end(data[:8], file)
    try:
        header = json.loads(data[8:end])
        return {
            name: Tensor(
                str(about["dtype"]), tuple(map(int, about["shape"])), *(end + int(at) for at in about["data_offsets"])
            )
            for name, about in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _broken(file) from None


def _broken(file: RemoteFile) -> RegistryError:
    return RegistryError(Reason.FILE_REFUSED, f"{file.path} is not a safetensors file: its header is broken")
