"""HEIC and AVIF files: odd and right ones, cut, broken and hostile ones."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from corpus_case import AVIF, HEIC, IMAGE, SCENE, SPOTS, Case, bad, ok, paint, quadrants
from corpus_make import avif, encode, exif, exif_bomb, heic
from corpus_valid import STORED
from matte_core.pictures.isobmff import Item, Property, Reader
from PIL import Image

LOSSY = tuple(replace(spot, off=16) for spot in SPOTS)
BRANDS = {"HEIC": b"heic", "AVIF": b"avif"}


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of an ISO base media file."""
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


@dataclass(frozen=True)
class Part:
    """An item to write."""

    kind: bytes
    data: bytes = b""
    properties: Sequence[Property] = ()
    tiles: Sequence[int] = ()
    extents: Sequence[tuple[int, int]] = field(default=())


def coded(data: bytes, name: str) -> Part:
    """The picture of a file that was written by its library."""
    pictures = Reader(data, name).pictures()
    item: Item = pictures.items[pictures.primary]
    body = b"".join(data[start:end] for start, end in item.extents)
    return Part(item.kind, body, item.properties)


def ispe(width: int, height: int) -> Property:
    return Property(b"ispe", struct.pack(">III", 0, width, height))


def heif(name: str, *parts: Part, extra: bytes = b"") -> bytes:
    """A file of items, numbered from 1; the first is to be shown."""
    head = box(b"ftyp", BRANDS[name], bytes(4), b"mif1", BRANDS[name])
    length = len(_meta(parts, 0)) + len(extra)
    return head + _meta(parts, len(head) + length + 8) + extra + box(b"mdat", *(part.data for part in parts))


def _meta(parts: Sequence[Part], place: int) -> bytes:
    places, kinds, links = [], [], []
    known: list[Property] = []
    owned = b""
    for number, part in enumerate(parts, 1):
        extents = part.extents or [(place, len(part.data))]
        places.append(struct.pack(">HHH", number, 0, len(extents)) + b"".join(struct.pack(">II", *e) for e in extents))
        place += len(part.data)
        kinds.append(box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), part.kind, b"\0"))
        links += [box(b"dimg", struct.pack(f">HH{len(part.tiles)}H", number, len(part.tiles), *part.tiles))] * bool(
            part.tiles
        )
        owned += struct.pack(">HB", number, len(part.properties))
        for one in part.properties:
            if one not in known:
                known.append(one)
            owned += struct.pack(">H", known.index(one) + 1)
    return box(
        b"meta", bytes(4), box(b"hdlr", bytes(8), b"pict", bytes(13)), box(b"pitm", bytes(4), b"\0\1"),
        box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(parts)), *places),
        box(b"iinf", bytes(4), struct.pack(">H", len(parts)), *kinds),
        box(b"iprp", box(b"ipco", *(box(*one) for one in known)),
            box(b"ipma", b"\0\0\0\1", struct.pack(">I", len(parts)), owned)),
        box(b"iref", bytes(4), *links),
    )  # fmt: skip


def grid(rows: int, columns: int, width: int, height: int, tiles: Sequence[int]) -> Part:
    body = bytes((0, 0, rows - 1, columns - 1)) + struct.pack(">HH", width, height)
    return Part(b"grid", body, [ispe(width, height)], tiles)


def _tile(color: Sequence[int], name: str) -> Part:
    image = Image.fromarray(np.full((64, 64, 3), color, np.uint8))
    return coded(heic(image) if name == "HEIC" else avif(image), name)


def valid() -> Iterator[Case]:
    """What a decoder must show."""
    alphas = paint((255,), (128,), (64,), (0,))
    rgba = Image.fromarray(np.dstack([SCENE, alphas]))
    seen = quadrants(*(spot.rgb for spot in SPOTS), off=16, alphas=(255, 128, 64, 0))
    exact = [replace(spot, alpha=alpha) for spot, alpha in zip(seen, (255, 128, 64, 0), strict=True)]
    yield ok("avif_alpha", avif(rgba), "AVIF", *exact[:3])
    for number, store in STORED.items():
        image = Image.fromarray(np.ascontiguousarray(store(SCENE)))
        yield ok(f"avif_orientation_{number}", avif(image, exif=exif(number)), "AVIF", *LOSSY)
        turn = coded(heic(image), "HEIC")
        angle, mirror = TURNS[number]
        marks = [Property(b"irot", bytes((angle,)))] * bool(angle)
        marks += [Property(b"imir", bytes((mirror,)))] if mirror >= 0 else []
        part = replace(turn, properties=[*turn.properties, *marks])
        yield ok(f"heic_orientation_{number}", heif("HEIC", part), "HEIC", *LOSSY)
    for name in BRANDS:
        colors = [spot.rgb for spot in SPOTS]
        tiles = [_tile(color, name) for color in colors]
        quarters = [replace(s, x=32 + 60 * (i % 2), y=32 + 60 * (i // 2)) for i, s in enumerate(LOSSY)]
        whole = heif(name, grid(2, 2, 124, 120, (2, 3, 4, 5)), *tiles)
        yield ok(f"{name.lower()}_grid", whole, name, *quarters, size=(124, 120))
        thumbnail = heif(name, coded(HEIC if name == "HEIC" else AVIF, name), _tile(colors[0], name))
        yield ok(f"{name.lower()}_thumbnail", thumbnail + b"trailer", name, *LOSSY)


#: how a HEIF says each EXIF orientation: anti-clockwise quarter turns, then the axis that is mirrored (-1: none)
TURNS = {1: (0, -1), 2: (0, 1), 3: (2, -1), 4: (0, 0), 5: (1, 0), 6: (3, -1), 7: (1, 1), 8: (1, -1)}


def hostile() -> Iterator[Case]:
    """What must be refused before a decoder sees it."""
    yield bad("avif_animated", encode(IMAGE, "AVIF", save_all=True, append_images=[IMAGE]), "picture_animated")
    large = Image.new("RGB", (512, 512), (200, 30, 30))
    for name, small, big in (("HEIC", HEIC, heic(large)), ("AVIF", AVIF, avif(large))):
        one, other = coded(small, name), coded(big, name)
        yield from _lies(name, one, other)
        yield from _grids(name, _sized(one, 64, 64), other)
        yield from _floods(name, one)
        garbage = replace(one, data=one.data[: len(one.data) // 2] + bytes(len(one.data) - len(one.data) // 2))
        either = "ok|picture_corrupt|picture_truncated"
        yield ok(f"{name.lower()}_broken_stream", heif(name, garbage), name, decode=either)
    one = _without(coded(HEIC, "HEIC"), b"clap")
    for what, code, crop in (("negative", "picture_empty", (-5, 1)), ("by_zero", "picture_corrupt", (5, 0))):
        clap = Property(b"clap", struct.pack(">8i", *crop, 32, 1, 0, 1, 0, 1))
        yield bad(f"heic_crop_{what}", heif("HEIC", replace(one, properties=[*one.properties, clap])), code)


def _without(part: Part, *kinds: bytes) -> Part:
    return replace(part, properties=[one for one in part.properties if one.kind not in kinds])


def _sized(part: Part, width: int, height: int) -> Part:
    return replace(part, properties=[ispe(width, height), *_without(part, b"ispe", b"clap").properties])


def _lies(name: str, one: Part, other: Part) -> Iterator[Case]:
    """A file that says one thing, and whose stream says another."""
    low = name.lower()
    yield bad(f"{low}_codes_more_than_it_says", heif(name, _sized(other, 64, 64)), "picture_corrupt")
    yield bad(f"{low}_huge", heif(name, _sized(one, 60_000, 60_000)), "too_many_pixels")
    yield bad(f"{low}_51mp", heif(name, _sized(one, 8500, 6000)), "too_many_pixels")
    yield bad(f"{low}_0x0", heif(name, _sized(one, 0, 0)), "picture_empty")
    yield bad(f"{low}_no_size", heif(name, _without(one, b"ispe", b"clap")), "picture_corrupt")
    yield bad(f"{low}_no_data", heif(name, replace(one, data=b"")), "picture_corrupt|picture_truncated")
    yield bad(f"{low}_no_structure", heif(name, one).replace(b"meta", b"free"), "picture_truncated")
    yield bad(f"{low}_no_primary", heif(name, one).replace(b"pitm", b"free"), "picture_corrupt")
    yield bad(f"{low}_other_codec", heif(name, replace(one, kind=b"j2k1")), "unsupported_format")
    yield bad(f"{low}_overlay", heif(name, replace(one, kind=b"iovl")), "unsupported_format")
    yield bad(f"{low}_many_pictures", heif(name, replace(one, data=one.data * 9)), "picture_animated")
    bomb = Part(b"Exif", bytes(4) + exif_bomb(900, 1 << 20))
    yield bad(f"{low}_exif_bomb", heif(name, one, bomb), "picture_corrupt")


def _grids(name: str, tile: Part, large: Part) -> Iterator[Case]:
    low = name.lower()
    flood = grid(256, 256, 5000, 5000, (2,) * 65_535)
    yield bad(f"{low}_grid_flood", heif(name, flood, tile), "picture_corrupt")
    yield bad(f"{low}_grid_flood_beside", heif(name, tile, replace(flood, tiles=(1,) * 65_535)), "picture_corrupt")
    yield bad(f"{low}_grid_of_large_tiles", heif(name, grid(2, 2, 70, 70, (2,) * 4), large), "picture_corrupt")
    yield bad(f"{low}_grid_without_tiles", heif(name, grid(2, 2, 128, 128, (7, 8, 9, 10)), tile), "picture_corrupt")
    yield bad(f"{low}_grid_51mp", heif(name, grid(2, 2, 8500, 6000, (2,) * 4), tile), "too_many_pixels")
    yield bad(f"{low}_grid_of_itself", heif(name, grid(1, 1, 64, 64, (1,))), "unsupported_format")


def _floods(name: str, one: Part) -> Iterator[Case]:
    """Small files that would keep a reader busy."""
    low = name.lower()

    def crowded(*others: Part) -> bytes:
        return heif(name, one, *others)

    yield bad(f"{low}_item_flood", crowded(*[Part(b"mime")] * 1001), "picture_corrupt")
    many = [Property(b"free", struct.pack(">I", n)) for n in range(10_001)]
    crowd = [Part(b"mime", properties=many[n : n + 255]) for n in range(0, 10_001, 255)]
    yield bad(f"{low}_property_flood", crowded(*crowd), "picture_corrupt")
    again = Part(b"mime", extents=[(0, 30_000)] * 30)
    yield bad(f"{low}_overlapping_parts", crowded(Part(b"mime", bytes(30_000)), *[again] * 5), "picture_corrupt")
    yield bad(f"{low}_part_beyond", crowded(Part(b"mime", extents=[(10, 2**31)])), "picture_truncated")
    yield bad(f"{low}_pieces_flood", crowded(Part(b"mime", extents=[(0, 1)] * 33)), "picture_corrupt")
    noise = b"\x12\0" if name == "AVIF" else b"\0\0\0\2\x4e\1"
    yield bad(f"{low}_unit_flood", heif(name, replace(one, data=one.data + noise * 10_001)), "picture_corrupt")
