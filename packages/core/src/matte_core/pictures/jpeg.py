"""JPEG (ITU T.81): marker by marker from SOI to EOI, skipping the entropy-coded data."""

from __future__ import annotations

import re

from matte_core.contracts.job import Limits
from matte_core.pictures.common import Header, check_size, corrupt, read_orientation, take, truncated, unsupported

NAME = "JPEG"
#: 0xFF and a code that is neither stuffing, fill nor a restart: the end of a scan's data, or the next segment
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOF, _SOS, _EOI, _SOI, _APP1, _TEM = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA}), 0xDA, 0xD9, 0xD8, 0xE1, 0x01
_UNSUPPORTED_SOF = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE})
_EXIF = b"Exif\0\0"
#: a progressive picture has about 10; thousands in a small file keep a decoder busy for minutes
MAX_SCANS = 100
#: 30 MB of the largest segments are some 500; a flood of empty ones only costs time
MAX_MARKERS = 5000


def walk(data: bytes, limits: Limits) -> Header:
    """Size and orientation of a complete JPEG.

    Data after the first EOI is ignored: it may be a phone's second picture (MPO), a video or garbage.
    """
    size: tuple[int, int] | None = None
    scans, position = 0, 2
    exif_segments: list[bytes] = []  # EXIF larger than a segment continues in the next one
    for _ in range(MAX_MARKERS):
        marker = _MARKER.search(data, position)
        if marker is None:
            raise truncated(NAME, "its end marker is missing")
        position, code = marker.end(), data[marker.end() - 1]
        if code == _EOI:
            if size is None or not scans:
                raise corrupt(NAME, "it ends before any picture data")
            return Header(*size, read_orientation(b"".join(exif_segments), NAME))
        if code == _SOI:
            raise corrupt(NAME, "a second picture starts inside the first")
        if code == _TEM:
            continue
        end = _segment_end(data, position)
        if code in _SOF or code in _UNSUPPORTED_SOF:
            if size is not None:
                raise corrupt(NAME, "it has two frame headers")
            size = _frame_size(code, data, position, end, limits)
        elif code == _SOS:
            if size is None:
                raise corrupt(NAME, "picture data comes before the frame header")
            scans += 1
        elif code == _APP1 and data.startswith(_EXIF, position + 2):
            exif_segments.append(data[position + 2 + len(_EXIF) : end])
        if scans > MAX_SCANS:
            raise corrupt(NAME, f"it has more than {MAX_SCANS} scans")
        position = end
    raise corrupt(NAME, f"it has more than {MAX_MARKERS} segments")


def _segment_end(data: bytes, position: int) -> int:
    (length,) = take(data, position, ">H", NAME, "a segment is cut")
    if length < 2:
        raise corrupt(NAME, "a segment has an impossible length")
    if position + length > len(data):
        raise truncated(NAME, "a segment is cut")
    return position + length


def _frame_size(code: int, data: bytes, position: int, end: int, limits: Limits) -> tuple[int, int]:
    """Width and height in a frame header (T.81 B.2.2)."""
    if end - position < 8:
        raise corrupt(NAME, "its frame header is too short")
    bits, height, width, components = take(data, position + 2, ">BHHB", NAME, "its frame header is cut")
    if code in _UNSUPPORTED_SOF:
        raise unsupported("a lossless or hierarchical JPEG")
    if bits != 8:
        raise unsupported(f"a JPEG with {bits} bits per channel")
    if components not in (1, 3, 4):
        raise unsupported(f"a JPEG with {components} channels")
    if end - position < 8 + 3 * components:
        raise corrupt(NAME, "its frame header is too short")
    check_size(NAME, width, height, limits)
    return width, height
