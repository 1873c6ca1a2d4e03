"""Which files an ONNX file reads besides itself, from its structure alone: nothing is loaded or run.

onnxruntime checks that such a file is in the folder, but it does not know which files the digest covers. Source: the
messages and field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, and the wire format,
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from pathlib import Path

_MAX_DEPTH = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Message(Enum):
    MODEL = auto()
    GRAPH = auto()
    FUNCTION = auto()
    NODE = auto()
    ATTRIBUTE = auto()
    SPARSE_TENSOR = auto()
    TENSOR = auto()
    ENTRY = auto()


_M = _Message
#: by message, the fields that lead to tensors
_FIELDS: Mapping[_Message, Mapping[int, _Message]] = {
    _M.MODEL: {7: _M.GRAPH, 25: _M.FUNCTION},
    _M.GRAPH: {1: _M.NODE, 5: _M.TENSOR, 15: _M.SPARSE_TENSOR},
    _M.FUNCTION: {7: _M.NODE, 11: _M.ATTRIBUTE},
    _M.NODE: {5: _M.ATTRIBUTE},
    _M.ATTRIBUTE: {
        5: _M.TENSOR, 6: _M.GRAPH, 10: _M.TENSOR, 11: _M.GRAPH, 22: _M.SPARSE_TENSOR, 23: _M.SPARSE_TENSOR,
    },
    _M.SPARSE_TENSOR: {1: _M.TENSOR, 2: _M.TENSOR},
    _M.TENSOR: {13: _M.ENTRY},
    _M.ENTRY: {},
}  # fmt: skip
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


class NotOnnxError(ValueError):
    """The message says what the file is instead, and what to do."""


def external_files(path: Path) -> frozenset[str]:
    """The locations of the file's external data, as it states them. Raises :class:`NotOnnxError`."""
    with path.open("rb") as file:
        head = file.read(256)
        _check_head(head)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return frozenset(_locations(data, _M.MODEL, 0, len(data), 0))


def _check_head(head: bytes) -> None:
    if not head:
        raise NotOnnxError("it is empty: publish the file again")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise NotOnnxError("it is a web page: its address serves a page in place of the file. Correct the address")
    if text.startswith(b"version https://git-lfs"):
        raise NotOnnxError("it is a pointer of Git LFS, not the file: run git lfs pull, and publish it again")


def _locations(data: memoryview, message: _Message, at: int, end: int, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise NotOnnxError(f"its graphs are nested more than {_MAX_DEPTH} levels deep: is it an ONNX file?")
    key = value = b""
    for number, kind, start, stop in _fields(data, at, end):
        inner = _FIELDS[message].get(number) if kind == _BYTES else None
        if inner is not None:
            yield from _locations(data, inner, start, stop, depth + 1)
        elif message is _M.ENTRY and kind == _BYTES:
            key = bytes(data[start:stop]) if number == _ENTRY_KEY else key
            value = bytes(data[start:stop]) if number == _ENTRY_VALUE else value
    if message is _M.ENTRY and key == b"location":
        yield value.decode(errors="replace")


def _fields(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, start, end) of the fields of a message between two positions."""
    while at < end:
        tag, at = _varint(data, at, end)
        kind, start = tag & 7, at
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        else:
            raise NotOnnxError("it is not an ONNX file: its structure is another one. Publish the right file")
        if at > end:
            missing = f", {at - len(data)} bytes or more are missing" if at > len(data) else ""
            raise NotOnnxError(f"it is damaged{missing}: the download or the export was cut off. Publish it again")
        yield tag >> 3, kind, start, at


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """An integer and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise NotOnnxError("it is damaged: the download or the export was cut off. Publish it again")
