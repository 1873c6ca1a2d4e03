"""Builders of picture files, for what no encoder writes: odd depths, bombs, hostile metadata."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[Any]
MIB = 1 << 20


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def heic(image: Image.Image) -> bytes:
    """A HEIC as libheif writes it."""
    sink = io.BytesIO()
    pillow_heif.from_pillow(image).save(sink, quality=95, chroma=444)
    return sink.getvalue()


def avif(image: Image.Image, **options: Any) -> bytes:
    """An AVIF as libavif writes it."""
    return encode(image, "AVIF", quality=95, subsampling="4:4:4", speed=10, **options)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with a right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def ihdr(width: int, height: int, depth: int = 8, color: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))


def rows(samples: Pixels) -> bytes:
    """Filter-0 rows of H×W×C samples; 16-bit ones big-endian."""
    wide = samples.astype(">u2") if samples.dtype == np.uint16 else samples
    flat = np.ascontiguousarray(wide).view(np.uint8).reshape(len(samples), -1)
    return np.pad(flat, ((0, 0), (1, 0))).tobytes()


def png(head: bytes, *before: bytes, raw: bytes = b"", idat: bytes | None = None, end: bool = True) -> bytes:
    """A PNG of a header chunk, chunks before the data, and the data, inflated (``raw``) or as it is (``idat``)."""
    data = chunk(b"IDAT", zlib.compress(raw) if idat is None else idat)
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + data + (chunk(b"IEND", b"") if end else b"")


def png_of(samples: Pixels, color: int, *before: bytes) -> bytes:
    """A PNG of H×W×C samples, 8 or 16 bits deep."""
    height, width = samples.shape[:2]
    return png(ihdr(width, height, samples.dtype.itemsize * 8, color), *before, raw=rows(samples))


def png_adam7(samples: Pixels, color: int) -> bytes:
    """An interlaced PNG of H×W×C 8-bit samples (PNG §8.2)."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b"".join(rows(samples[y::dy, x::dx]) for x, y, dx, dy in passes if samples[y::dy, x::dx].size)
    return png(ihdr(samples.shape[1], samples.shape[0], 8, color, 1), raw=raw)


def zeros(size: int) -> bytes:
    """A zlib stream of ``size`` (whole MiB) zeros, made without holding them.

    A full flush ends on a byte and forgets the history, so one MiB's blocks can be repeated; the Adler sum of zeros is
    known.
    """
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = (size % 65521) << 16 | 1
    return first[:2] + first[2:] * (size // MIB) + b"\x03\x00" + struct.pack(">I", adler)


def exif(orientation: int, *, order: str = ">", kind: int = 3, tail: bytes = b"") -> bytes:
    """An EXIF block (TIFF header and one entry), without ``Exif\\0\\0``."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    value = struct.pack(order + ("Hxx" if kind == 3 else "I"), orientation)
    return head + struct.pack(order + "HHHI", 1, 0x0112, kind, 1) + value + bytes(4) + tail


def exif_bomb(entries: int, reach: int) -> bytes:
    """EXIF whose every entry claims the same ``reach`` bytes: decoders that copy them hold entries × reach."""
    items = b"".join(struct.pack(">HHII", 0x9000 + i, 7, reach, 8) for i in range(entries))
    block = b"MM\0*\0\0\0\x08" + struct.pack(">H", entries) + items + bytes(4)
    return block + bytes(max(0, reach - len(block)))


def segment(code: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def with_segment(jpeg: bytes, *parts: bytes) -> bytes:
    """A JPEG with segments put right after SOI."""
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def with_exif(jpeg: bytes, block: bytes) -> bytes:
    return with_segment(jpeg, segment(0xE1, b"Exif\0\0" + block))


def without_segment(jpeg: bytes, code: int) -> bytes:
    """A JPEG without its first segment of this code."""
    at = jpeg.index(bytes((0xFF, code)))
    return jpeg[:at] + jpeg[at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0] :]


def with_frame(jpeg: bytes, *, bits: int = 8, width: int | None = None, height: int | None = None) -> bytes:
    """A JPEG whose frame header says something else."""
    at = jpeg.index(b"\xff\xc0") + 4
    old = struct.unpack_from(">BHH", jpeg, at)
    new = struct.pack(">BHH", bits, old[1] if height is None else height, old[2] if width is None else width)
    return jpeg[:at] + new + jpeg[at + 5 :]


def ycck(rgb: Image.Image) -> bytes:
    """A YCCK JPEG as Adobe writes it: inverted, Y Cb Cr of the inks, transform 2."""
    inks = Image.eval(rgb, lambda value: 255 - value).convert("YCbCr").split()
    stored = [Image.eval(band, lambda value: 255 - value) for band in inks]  # Pillow inverts CMYK as it writes
    jpeg = encode(Image.merge("CMYK", (*stored, Image.new("L", rgb.size, 0))), "JPEG", quality=95)
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + b"\x02" + jpeg[at + 1 :]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP container."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def tiff(samples: Pixels, photometric: int, extra: Sequence[tuple[int, int, int, int]] = (), order: str = "<") -> bytes:
    """An uncompressed one-strip TIFF of H×W×C samples; ``extra`` are (tag, type, count, value field) entries."""
    height, width, channels = samples.shape
    data = np.ascontiguousarray(samples.astype(order + samples.dtype.str[1:])).tobytes()
    depth = samples.dtype.itemsize * 8
    bits = struct.pack(f"{order}{channels}H", *[depth] * channels)
    entries = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, channels, depth if channels == 1 else 8),
        259: (3, 1, 1),
        262: (3, 1, photometric),
        273: (4, 1, 8 + len(bits)),
        277: (3, 1, channels),
        278: (4, 1, height),
        279: (4, 1, len(data)),
    } | {tag: (kind, count, value) for tag, kind, count, value in extra}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(bits) + len(data))
    return head + bits + data + directory(entries, order)


def directory(entries: dict[int, tuple[int, int, int]], order: str = "<", following: int = 0) -> bytes:
    """A TIFF directory; a short value is put where its byte order wants it."""
    out = struct.pack(order + "H", len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        field = struct.pack(order + "Hxx", value) if kind == 3 and count == 1 else struct.pack(order + "I", value)
        out += struct.pack(order + "HHI", tag, kind, count) + field
    return out + struct.pack(order + "I", following)


def bmp32(rgba: Pixels, *, top_down: bool = False) -> bytes:
    """A 32-bit BMP with alpha masks (BITMAPV4HEADER), bottom-up or top-down."""
    height, width = rgba.shape[:2]
    pixels = np.ascontiguousarray((rgba if top_down else rgba[::-1])[..., [2, 1, 0, 3]]).tobytes()
    info = struct.pack("<IiiHHIIiiII", 108, width, -height if top_down else height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + info + masks + pixels


def icc(red: Sequence[float], green: Sequence[float], blue: Sequence[float], gamma: float = 2.2) -> bytes:
    """A matrix profile (ICC.1:2001): colorants as D50 XYZ, one gamma."""

    def fixed(values: Sequence[float]) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    name = b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(79)
    tags = [
        (b"desc", name),
        (b"cprt", b"text\0\0\0\0free\0\0\0\0"),
        (b"wtpt", b"XYZ \0\0\0\0" + fixed((0.9642, 1, 0.8249))),
    ]
    for letter, colorant in zip(b"rgb", (red, green, blue), strict=True):
        tags += [(bytes((letter,)) + b"XYZ", b"XYZ \0\0\0\0" + fixed(colorant)), (bytes((letter,)) + b"TRC", curve)]
    table, body, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for kind, data in tags:
        table += kind + struct.pack(">II", place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s28x", place + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return head + fixed((0.9642, 1, 0.8249)) + bytes(128 - len(head) - 12) + table + body
