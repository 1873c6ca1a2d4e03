"""A case of the corpus, the scene that the valid ones show, and a valid file of each kind."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from corpus_make import avif, encode, heic
from PIL import Image

WIDTH, HEIGHT = 48, 32
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Spot:
    """The color that a decoder must see at (x, y) as seen, and how far each channel may be off."""

    x: int
    y: int
    rgb: Rgb
    off: int = 6
    alpha: int | None = None  # None: the picture has no alpha there, or 255


@dataclass(frozen=True, slots=True)
class Case:
    """One file.

    Args:
        expect: the codes that ``probe`` may answer; {"ok"} where it must accept.
        decode: for accepted ones, what a decoder may answer.
        size: (width, height) as seen, of accepted ones.
        format: as sniffed, of accepted ones.
        spots: colors a decoder must find.
    """

    name: str
    data: bytes = field(repr=False)
    expect: frozenset[str]
    decode: frozenset[str] = frozenset()
    size: tuple[int, int] | None = None
    format: str | None = None
    spots: tuple[Spot, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether ``probe`` must accept it."""
        return self.expect == {"ok"}


RED, GREEN, BLUE, LIGHT = (200, 30, 30), (30, 180, 60), (40, 60, 200), (240, 240, 225)


def quadrants(*colors: Rgb, off: int = 6, alphas: tuple[int | None, ...] = (None,) * 4) -> tuple[Spot, ...]:
    """Spots in the middle of the four quadrants: top left, top right, bottom left, bottom right."""
    places = [(WIDTH // 4 * (1 + 2 * (i % 2)), HEIGHT // 4 * (1 + 2 * (i // 2))) for i in range(4)]
    return tuple(Spot(*place, color, off, alpha) for place, color, alpha in zip(places, colors, alphas, strict=True))


SPOTS = quadrants(RED, GREEN, BLUE, LIGHT)


def paint(
    *colors: tuple[int, ...], dtype: type[np.generic] = np.uint8
) -> np.ndarray[tuple[int, int, int], np.dtype[np.generic]]:
    """H×W×C samples of four quadrants."""
    grid = np.array(colors, dtype=dtype).reshape(2, 2, -1)
    return grid.repeat(HEIGHT // 2, axis=0).repeat(WIDTH // 2, axis=1)


SCENE = paint(RED, GREEN, BLUE, LIGHT)
IMAGE = Image.fromarray(SCENE)
JPEG = encode(IMAGE, "JPEG", quality=95, subsampling=0)
PROGRESSIVE = encode(IMAGE, "JPEG", quality=95, subsampling=0, progressive=True)
PNG = encode(IMAGE, "PNG")
GIF = encode(IMAGE, "GIF")
BMP = encode(IMAGE, "BMP")
TIFF = encode(IMAGE, "TIFF")
WEBP = encode(IMAGE, "WEBP", quality=95)
WEBP_LOSSLESS = encode(IMAGE, "WEBP", lossless=True)
HEIC = heic(IMAGE)
AVIF = avif(IMAGE)
#: one valid file of each kind, for cutting and mutating
VALID = {
    "jpeg": JPEG,
    "jpeg_progressive": PROGRESSIVE,
    "png": PNG,
    "gif": GIF,
    "bmp": BMP,
    "tiff": TIFF,
    "webp": WEBP,
    "webp_lossless": WEBP_LOSSLESS,
    "heic": HEIC,
    "avif": AVIF,
}


def ok(
    name: str, data: bytes, kind: str, *spots: Spot, size: tuple[int, int] = (WIDTH, HEIGHT), decode: str = "ok"
) -> Case:
    """A file that probe accepts."""
    return Case(name, data, frozenset({"ok"}), frozenset(decode.split("|")), size, kind, spots)


def bad(name: str, data: bytes, codes: str) -> Case:
    """A file that probe refuses with one of the codes (divided by ``|``)."""
    return Case(name, data, frozenset(codes.split("|")))
