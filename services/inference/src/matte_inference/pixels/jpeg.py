"""What a JPEG file says about its colours: profile, Adobe marker, number of components.

Reading the few segments here costs microseconds and, unlike a general reader, never warns or allocates for them.
Orientation, size and soundness come from :func:`matte_core.pictures.probe.probe`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Colors:
    """``components`` per pixel, the embedded ``icc`` profile, and whether Adobe's marker is there."""

    components: int = 3
    icc: bytes | None = None
    adobe: bool = False


def read_colors(data: bytes) -> Colors:
    """The colours of a JPEG file; segments that make no sense are skipped. Never raises."""
    components, adobe = 3, False
    icc: dict[int, bytes] = {}
    for marker, body in _segments(data):
        if marker in _FRAMES and len(body) >= 6:
            components = body[5]
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            icc[body[12]] = body[14:]
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = True
    return Colors(components, b"".join(icc[number] for number in sorted(icc)) or None, adobe)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of every segment before the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:  # padding, or a marker without a body
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)
