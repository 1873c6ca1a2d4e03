"""Files that are cut, broken, hostile or no pictures at all."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from corpus_case import (
    BMP,
    GIF,
    HEIGHT,
    IMAGE,
    JPEG,
    PNG,
    PROGRESSIVE,
    SCENE,
    TIFF,
    VALID,
    WEBP,
    WEBP_LOSSLESS,
    WIDTH,
    Case,
    bad,
    ok,
)
from corpus_make import (
    MIB,
    chunk,
    encode,
    exif,
    exif_bomb,
    ihdr,
    png,
    riff,
    rows,
    segment,
    tiff,
    with_exif,
    with_frame,
    with_segment,
    zeros,
)


def _truncated() -> Iterator[Case]:
    for name, data in VALID.items():
        yield bad(f"{name}_cut_3", data[:3], "picture_truncated|not_a_picture")
        for cut in (12, 24, len(data) // 3, len(data) // 2, len(data) - 5, len(data) - 1):
            yield bad(f"{name}_cut_{cut}", data[:cut], "picture_truncated")
    yield bad("png_without_iend", PNG[:-12], "picture_truncated")
    yield bad("jpeg_without_eoi", JPEG[:-2], "picture_truncated")
    thumbnail = exif(1, tail=JPEG)
    yield bad("jpeg_cut_after_thumbnail", with_exif(JPEG, thumbnail)[:-2], "picture_truncated")
    yield bad("jpeg_exif_segment_cut", JPEG[:2] + b"\xff\xe1\xff\xff" + b"Exif\0\0" + exif(6), "picture_truncated")


def _no_pictures() -> Iterator[Case]:
    rng = np.random.default_rng(7)
    for name, data in {
        "text": b"I am a photograph, honestly.\n" * 20,
        "html_as_jpg": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
        "json": b'{"error": "not found"}',
        "zip": b"PK\x03\x04" + bytes(60),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(60),
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "mp4": b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + bytes(40),
        "random": b"\x00" + rng.bytes(5000),
        "zeros": bytes(5000),
        "gif_magic_and_text": b"GIF89a" + b" but the rest is prose. " * 20,
        "bm_text": b"BMW is a maker of cars, not of bitmaps. " * 3,
        "riff_wave": b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(28),
        "one_byte": b"\xff",
    }.items():
        yield bad(name, data, "not_a_picture")
    yield bad("empty", b"", "picture_empty")
    yield bad("too_many_bytes", PNG + bytes(30_000_001 - len(PNG)), "payload_too_large")


def _unsupported() -> Iterator[Case]:
    for name, data in {
        "cr3": b"\0\0\0\x14ftypcrx \0\0\0\0isom" + bytes(200),
        "jxl_codestream": b"\xff\x0a" + bytes(40),
        "jxl_container": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40),
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        "j2k_codestream": b"\xff\x4f\xff\x51" + bytes(40),
        "psd": b"8BPS\0\1" + bytes(40),
        "ico": encode(IMAGE, "ICO"),
        "exr": b"\x76\x2f\x31\x01\2\0\0\0" + bytes(40),
        "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n" + bytes(16),
        "cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(40),
        "raf": b"FUJIFILMCCD-RAW 0201" + bytes(40),
        "ppm": encode(IMAGE, "PPM"),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
        "svg_with_prolog": b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "dng": tiff(SCENE, 2, [(50706, 1, 4, 0x0401)]),
        "tiff_float": tiff(np.ones((HEIGHT, WIDTH, 1), np.float32), 1, [(339, 3, 1, 3)]),
        "tiff_unknown_compression": tiff(SCENE, 2, [(259, 3, 1, 34712)]),
        "jpeg_12_bit": with_frame(JPEG, bits=12),
        "jpeg_lossless": JPEG.replace(b"\xff\xc0", b"\xff\xc3"),
    }.items():
        yield bad(name, data, "unsupported_format")


def _sizes() -> Iterator[Case]:
    yield bad("png_0x0", png(ihdr(0, 0), raw=b""), "picture_empty")
    yield bad("png_0_rows", png(ihdr(5, 0), raw=b""), "picture_empty")
    yield bad("jpeg_0x0", with_frame(JPEG, width=0, height=0), "picture_empty")
    yield bad("jpeg_0_rows", with_frame(JPEG, height=0), "picture_empty")
    yield bad("gif_0x0", b"GIF89a" + bytes(7) + b"," + bytes(9) + b"\x02\x02\x4c\x01\0;", "picture_empty")
    yield bad("gif_no_frame", b"GIF89a\x05\0\x05\0\0\0\0!\xfe\x01a\0;", "picture_empty")
    yield bad("bmp_0x0", BMP[:18] + bytes(8) + BMP[26:], "picture_empty")
    yield bad("tiff_0x0", tiff(SCENE, 2, [(256, 4, 1, 0), (257, 4, 1, 0)]), "picture_empty")
    yield bad("webp_0x0", _webp_lossy_size(0, 0), "picture_empty")
    yield bad("png_51mp", png(ihdr(8500, 6000, 1, 0), raw=bytes(6000 * 1064)), "too_many_pixels")
    yield bad("png_50k", png(ihdr(50_000, 50_000), idat=zeros(8 * MIB)), "too_many_pixels")
    yield bad("png_side", png(ihdr(30_001, 1, 1, 0), raw=bytes(3752)), "too_many_pixels")
    yield bad("jpeg_65500", with_frame(JPEG, width=65500, height=65500), "too_many_pixels")
    yield bad("gif_huge_canvas", GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:], "too_many_pixels")
    yield bad("bmp_huge", BMP[:18] + struct.pack("<ii", 2**31 - 1, -(2**31)) + BMP[26:], "too_many_pixels")
    yield bad("tiff_huge", tiff(SCENE, 2, [(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1)]), "too_many_pixels")
    yield bad(
        "webp_16383", riff((b"VP8L", b"\x2f" + struct.pack("<I", 16382 | 16382 << 14) + bytes(20))), "too_many_pixels"
    )
    canvas = b"\0\0\0\0" + b"\xff\xff\xff" * 2
    yield bad("webp_huge_canvas", riff((b"VP8X", canvas), (b"VP8L", WEBP_LOSSLESS[20:])), "too_many_pixels")
    yield ok("png_50mp_fits", png(ihdr(10_000, 5000, 1, 0), raw=bytes(5000 * 1251)), "PNG", size=(10_000, 5000))


def _webp_lossy_size(width: int, height: int) -> bytes:
    at = WEBP.index(b"\x9d\x01\x2a") + 3
    return WEBP[:at] + struct.pack("<HH", width, height) + WEBP[at + 4 :]


def _bombs() -> Iterator[Case]:
    gib = zeros(1024 * MIB)
    body = rows(SCENE)
    head = ihdr(WIDTH, HEIGHT)
    either = "ok|picture_corrupt"
    yield ok("png_ztxt_bomb", png(head, chunk(b"zTXt", b"Comment\0\0" + gib), raw=body), "PNG", decode=either)
    yield ok("png_iccp_bomb", png(head, chunk(b"iCCP", b"icc\0\0" + gib), raw=body), "PNG", decode=either)
    yield ok("png_idat_bomb", png(head, idat=gib), "PNG", decode=either)
    yield bad("png_chunk_flood", png(head, chunk(b"teST", b"") * 50_001, raw=body), "picture_corrupt")
    yield bad("png_exif_bomb", png(head, chunk(b"eXIf", exif_bomb(900, MIB)), raw=body), "picture_corrupt")
    parts = [segment(0xE1, b"Exif\0\0" + exif_bomb(5000, 65000))]
    yield bad("jpeg_exif_bomb", with_segment(JPEG, *parts), "picture_corrupt")
    block = exif_bomb(5000, 65000 * 3)
    spread = [segment(0xE1, b"Exif\0\0" + block[i : i + 65000]) for i in range(0, len(block), 65000)]
    yield bad("jpeg_exif_bomb_over_segments", with_segment(JPEG, *spread), "picture_corrupt")
    yield bad("jpeg_segment_flood", with_segment(JPEG, segment(0xFE, b"") * 5000), "picture_corrupt")
    yield bad("tiff_entry_flood", tiff(SCENE, 2, [(30000 + i, 3, 1, 0) for i in range(1000)]), "picture_corrupt")
    scan = PROGRESSIVE.index(b"\xff\xda")
    end = PROGRESSIVE.index(b"\xff", scan + 2)
    flood = PROGRESSIVE[:scan] + PROGRESSIVE[scan:end] * 5000 + PROGRESSIVE[end:]
    yield bad("jpeg_scan_flood", flood, "picture_corrupt")
    pad = bytes(MIB)
    overlapping = [(60000 + i, 7, MIB, 8) for i in range(200)]
    yield bad("tiff_value_bomb", tiff(SCENE, 2, overlapping) + pad, "picture_corrupt")
    yield bad("tiff_tile_bomb", tiff(SCENE, 2, [(322, 4, 1, 2**31), (323, 4, 1, 2**31)]), "picture_corrupt")
    yield bad("gif_extension_flood", GIF[:-1] + b"!\xfe\0" * 150_001 + b";", "picture_corrupt")
    yield bad("gif_block_flood", GIF[:-2] + b"\x01\0" * 150_001 + b"\0;", "picture_corrupt")


def _broken() -> Iterator[Case]:
    flipped = bytearray(PNG)
    flipped[PNG.index(b"IDAT") + 8] ^= 0xFF
    yield bad("png_crc_idat", bytes(flipped), "picture_corrupt")
    yield bad("png_crc_ihdr", PNG[:29] + b"\0\0\0\0" + PNG[33:], "picture_corrupt")
    yield bad("png_no_idat", PNG[:33] + PNG[-12:], "picture_corrupt")
    yield bad("png_no_ihdr", PNG[:8] + PNG[33:], "picture_corrupt")
    yield bad("png_no_palette", png(ihdr(WIDTH, HEIGHT, 8, 3), raw=rows(SCENE[..., :1])), "picture_corrupt")
    yield bad("png_odd_depth", png(ihdr(WIDTH, HEIGHT, 3, 2), raw=b""), "picture_corrupt")
    yield ok(
        "png_bad_zlib", png(ihdr(WIDTH, HEIGHT), idat=b"\x78\x9c" + b"\xff" * 300), "PNG", decode="picture_corrupt"
    )
    short = png(ihdr(WIDTH, HEIGHT), raw=rows(SCENE)[: WIDTH * 3 * 5])
    yield ok("png_few_rows", short, "PNG", decode="picture_corrupt|picture_truncated")
    yield bad("jpeg_magic_only", b"\xff\xd8\xff\xd9", "picture_corrupt")
    yield bad("jpeg_no_frame", b"\xff\xd8\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\x55" * 50 + b"\xff\xd9", "picture_corrupt")
    yield bad("jpeg_segment_length_0", JPEG[:2] + b"\xff\xe0\0\0" + JPEG[2:], "picture_corrupt")
    yield bad("jpeg_two_frames", with_segment(JPEG, JPEG[(at := JPEG.index(b"\xff\xc0")) : at + 19]), "picture_corrupt")
    yield bad("jpeg_in_jpeg", JPEG[:2] + JPEG, "picture_corrupt")
    yield bad("webp_no_data", riff((b"VP8X", bytes(10))), "picture_corrupt")
    yield bad("webp_bad_signature", riff((b"VP8L", b"\x00" + WEBP_LOSSLESS[21:])), "picture_corrupt")
    yield bad("webp_canvas_differs", riff((b"VP8X", bytes(10)), (b"VP8L", WEBP_LOSSLESS[20:])), "picture_corrupt")
    yield bad("bmp_offset_in_header", BMP[:10] + struct.pack("<I", 2) + BMP[14:], "picture_corrupt")
    yield bad("bmp_offset_beyond", BMP[:10] + struct.pack("<I", 2**31) + BMP[14:], "picture_truncated")
    yield bad("tiff_offset_beyond", TIFF[:4] + struct.pack("<I", 2**31) + TIFF[8:], "picture_truncated")
    yield bad("tiff_strip_beyond", tiff(SCENE, 2, [(273, 4, 1, 10**6)]), "picture_truncated")
    loop = tiff(SCENE, 2, [(254, 4, 1, 1)])
    start = struct.unpack_from("<I", loop, 4)[0]
    yield bad("tiff_loop", loop[:-4] + struct.pack("<I", start), "picture_corrupt")


def cases() -> Iterator[Case]:
    for group in (_truncated, _no_pictures, _unsupported, _sizes, _bombs, _broken):
        yield from group()
