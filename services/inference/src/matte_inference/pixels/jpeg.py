"""What a JPEG file says about its colors: profile, Adobe marker, number of components.

Reading the few segments here costs microseconds and, unlike a general reader, never warns or allocates for them.
Orientation, size and soundness come from :func:`matte_core.pictures.probe.probe`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_PROFILE, _PROFILE_HEAD = 0xE2, b"ICC_PROFILE\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Colors:
    """``components`` per pixel, the embedded ``icc`` profile, and whether Adobe's marker is there."""

    components: int = 3
    icc: bytes | None = None
    adobe: bool = False


def read_colors(data: bytes) -> Colors:
    """The colors of a JPEG file; segments that make no sense are skipped. Never raises.

    A profile's parts count as Pillow counts them: those before the frame, in the order of their numbers, whatever
    these are, if the first says how many there are.
    """
    components, adobe = 3, False
    parts: list[bytes] = []
    icc: list[bytes] = []
    for at, end in _segments(data):
        marker, body = data[at + 1], data[at + 4 : end]
        if marker in _FRAMES and len(body) >= 6:
            components, icc = body[5], sorted(parts)
        elif _is_profile(data, at) and len(body) > 14:
            parts.append(body)
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = True
    whole = bool(icc) and icc[0][13] == len(icc)
    return Colors(components, b"".join(part[14:] for part in icc) if whole else None, adobe)


def without_profile(data: bytes) -> bytes:
    """The file without its color profile: libjpeg refuses to decode beside one whose parts are misnumbered."""
    kept, done = [], 0
    for at, end in _segments(data):
        if _is_profile(data, at):
            kept.append(data[done:at])
            done = end
    return b"".join((*kept, data[done:])) if kept else data


def _is_profile(data: bytes, at: int) -> bool:
    return data[at + 1] == _PROFILE and data.startswith(_PROFILE_HEAD, at + 4)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(offset of the marker, end of the body) of every segment before the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:  # padding, or a marker without a body
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield at, at + 2 + length
        at += 2 + max(2, length)
