"""Files that are odd and right: depths, inks, palettes, orientations, profiles, one frame or many."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from corpus_case import (
    BLUE,
    GREEN,
    HEIGHT,
    IMAGE,
    JPEG,
    LIGHT,
    PNG,
    RED,
    SCENE,
    SPOTS,
    VALID,
    WIDTH,
    Case,
    Rgb,
    Spot,
    bad,
    ok,
    paint,
    quadrants,
)
from corpus_make import (
    Pixels,
    bmp32,
    chunk,
    directory,
    encode,
    exif,
    icc,
    ihdr,
    png,
    png_adam7,
    png_of,
    rows,
    segment,
    tiff,
    with_exif,
    with_segment,
    without_segment,
    ycck,
)
from PIL import Image

#: files whose colors are not exact
LOSSY = ("webp", "heic", "avif")


def _plain() -> Iterator[Case]:
    for name, data in VALID.items():
        kind = name.split("_", maxsplit=1)[0].upper()
        yield ok(name, data, kind, *(replace(spot, off=12) if name in LOSSY else spot for spot in SPOTS))
    yield ok("png_in_disguise_as_jpg", PNG, "PNG", *SPOTS)
    for side in ((1, 1), (1, 5000), (5000, 1)):
        for kind in ("PNG", "JPEG", "WEBP"):
            image = Image.new("RGB", side, RED)
            yield ok(f"{kind.lower()}_{side[0]}x{side[1]}", encode(image, kind), kind, Spot(0, 0, RED, 12), size=side)


def _many() -> Iterator[Case]:
    other = Image.fromarray(SCENE[::-1])
    both = {"save_all": True, "append_images": [other]}
    yield bad("gif_animated", encode(IMAGE, "GIF", **both), "picture_animated")
    yield bad("webp_animated", encode(IMAGE, "WEBP", **both), "picture_animated")
    yield bad("png_animated", encode(IMAGE, "PNG", **both), "picture_animated")
    yield bad("tiff_pages", encode(IMAGE, "TIFF", **both), "picture_animated")
    yield ok("mpo", encode(IMAGE, "MPO", quality=95, subsampling=0, **both), "JPEG", *SPOTS)
    one = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 1, 0, 0)
    )
    yield ok("png_animated_one_frame", png(ihdr(WIDTH, HEIGHT), one, raw=rows(SCENE)), "PNG", *SPOTS)
    page = tiff(SCENE, 2)
    thumbnail = {254: (4, 1, 1), 256: (4, 1, 1), 257: (4, 1, 1), 273: (4, 1, 8), 279: (4, 1, 3)}
    yield ok("tiff_thumbnail", page[:-4] + struct.pack("<I", len(page)) + directory(thumbnail), "TIFF", *SPOTS)


def _depths() -> Iterator[Case]:
    grays = (20, 90, 170, 240)
    gray_spots = quadrants(*((g, g, g) for g in grays))
    gray16 = paint(*((g * 257,) for g in grays), dtype=np.uint16)
    rgb16, rgba = SCENE.astype(np.uint16) * 257, np.dstack([SCENE, paint((255,), (128,), (64,), (0,))])
    seen = quadrants(RED, GREEN, BLUE, LIGHT, alphas=(255, 128, 64, 0))
    yield ok("png_gray16", png_of(gray16, 0), "PNG", *gray_spots)
    yield ok("png_rgb16", png_of(rgb16, 2), "PNG", *SPOTS)
    yield ok("png_rgba16", png_of(rgba.astype(np.uint16) * 257, 6), "PNG", *seen[:3])
    yield ok("png_rgba", png_of(rgba, 6), "PNG", *seen[:3])
    gray_alpha = np.dstack([paint(*((g,) for g in grays)), rgba[..., 3:]])
    yield ok(
        "png_gray_alpha",
        png_of(gray_alpha, 4),
        "PNG",
        *quadrants(*((g, g, g) for g in grays), alphas=(255, 128, 64, 0))[:3],
    )
    yield ok("png_gray16_alpha", png_of(gray_alpha.astype(np.uint16) * 257, 4), "PNG", *gray_spots[:1])
    bits = np.repeat(np.repeat(np.array([[0, 255], [255, 0]], np.uint8), 16, 0), 24, 1)
    black, white = (0, 0, 0), (255, 255, 255)
    checker = quadrants(black, white, white, black)
    yield ok("png_1_bit", encode(Image.fromarray(bits).convert("1"), "PNG"), "PNG", *checker)
    yield ok("bmp_1_bit", encode(Image.fromarray(bits).convert("1"), "BMP"), "BMP", *checker)
    yield ok(
        "tiff_1_bit_g4", encode(Image.fromarray(bits).convert("1"), "TIFF", compression="group4"), "TIFF", *checker
    )
    index = paint((0,), (1,), (2,), (3,))
    palette = chunk(b"PLTE", bytes(RED + GREEN + BLUE + LIGHT))
    yield ok("png_palette", png_of(index, 3, palette), "PNG", *SPOTS)
    trns = chunk(b"tRNS", bytes((255, 128, 64, 0)))
    yield ok("png_palette_trns", png_of(index, 3, palette, trns), "PNG", *seen[:3])
    key = chunk(b"tRNS", struct.pack(">HHH", *LIGHT))
    yield ok(
        "png_rgb_trns", png_of(SCENE, 2, key), "PNG", *quadrants(RED, GREEN, BLUE, LIGHT, alphas=(255, 255, 255, 0))[:3]
    )
    yield ok("png_interlaced", png_adam7(SCENE, 2), "PNG", *SPOTS)
    gray = Image.fromarray(paint(*((g,) for g in grays))[..., 0])
    yield ok("jpeg_gray", encode(gray, "JPEG", quality=95), "JPEG", *gray_spots)
    clear = encode(IMAGE.quantize(4), "GIF", transparency=IMAGE.quantize(4).getpixel((0, 0)))
    yield ok("gif_transparent", clear, "GIF", replace(SPOTS[0], alpha=0, off=255), *SPOTS[1:])
    yield ok("webp_alpha", encode(Image.fromarray(rgba), "WEBP", lossless=True, exact=True), "WEBP", *seen[:3])
    yield ok("bmp_32", bmp32(rgba), "BMP", *SPOTS[:1])
    yield ok("bmp_top_down", bmp32(np.dstack([SCENE, np.full_like(SCENE[..., 0], 255)]), top_down=True), "BMP", *SPOTS)
    yield from _depths_tiff(grays, gray16)


def _depths_tiff(grays: Sequence[int], gray16: Pixels) -> Iterator[Case]:
    gray_spots = quadrants(*((g, g, g) for g in grays))
    for order, name in (("<", "little"), (">", "big")):
        yield ok(f"tiff_gray16_{name}", tiff(gray16, 1, order=order), "TIFF", *gray_spots)
        yield ok(f"tiff_rgb_{name}", tiff(SCENE, 2, order=order), "TIFF", *SPOTS)
    yield ok("tiff_big", encode(IMAGE, "TIFF", big_tiff=True), "TIFF", *SPOTS)
    yield ok("tiff_white_is_zero", tiff(255 - paint(*((g,) for g in grays)), 0), "TIFF", *gray_spots)
    yield ok("tiff_orientation_6", tiff(np.rot90(SCENE).copy(), 2, [(274, 3, 1, 6)]), "TIFF", *SPOTS)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        off = 12 if compression == "jpeg" else 6
        data = encode(IMAGE, "TIFF", compression=compression)
        yield ok(f"tiff_{compression}", data, "TIFF", *(replace(spot, off=off) for spot in SPOTS))


def _inks() -> Iterator[Case]:
    cmyk = encode(IMAGE.convert("CMYK"), "JPEG", quality=95)
    yield ok("jpeg_cmyk_adobe", cmyk, "JPEG", *SPOTS)
    # only Adobe stores ink inverted: without its marker, values are ink as they stand
    negative = encode(Image.eval(IMAGE.convert("CMYK"), lambda value: 255 - value), "JPEG", quality=95)
    yield ok("jpeg_cmyk_plain", without_segment(negative, 0xEE), "JPEG", *SPOTS)
    yield ok("jpeg_ycck", ycck(IMAGE), "JPEG", *SPOTS)
    yield ok("jpeg_adobe_rgb", encode(IMAGE, "JPEG", quality=95, keep_rgb=True), "JPEG", *SPOTS)


#: how the scene must be stored so that the orientation shows it upright (EXIF 2.32, tag 274), from H×W×C
STORED: Mapping[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


def _metadata() -> Iterator[Case]:
    for number, store in STORED.items():
        image = Image.fromarray(np.ascontiguousarray(store(SCENE)))
        jpeg = encode(image, "JPEG", quality=95, subsampling=0)
        yield ok(f"jpeg_orientation_{number}", with_exif(jpeg, exif(number)), "JPEG", *SPOTS)
    turned = Image.fromarray(np.ascontiguousarray(STORED[6](SCENE)))
    yield ok("png_orientation_6", encode(turned, "PNG", exif=exif(6)), "PNG", *SPOTS)
    yield ok("webp_orientation_6", encode(turned, "WEBP", lossless=True, exif=exif(6)), "WEBP", *SPOTS)
    little = with_exif(encode(turned, "JPEG", quality=95, subsampling=0), exif(6, order="<", kind=4))
    yield ok("jpeg_orientation_6_little_long", little, "JPEG", *SPOTS)
    for name, block in {
        "0": exif(0),
        "9": exif(9),
        "byte": exif(6)[:12] + b"\0\x02" + exif(6)[14:],
        "garbage": b"MM\0*\0\0\0\x08" + b"\xff" * 40,
        "beyond": b"MM\0*\xff\xff\xff\xff" + bytes(20),
        "short": b"MM",
        "none": b"",
        "cut_entry": exif(6)[:14],
    }.items():
        yield ok(f"jpeg_exif_{name}", with_exif(JPEG, block), "JPEG", *SPOTS)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield ok("jpeg_xmp_orientation", with_segment(JPEG, segment(0xE1, xmp)), "JPEG", *SPOTS)
    yield ok("jpeg_thumbnail", with_exif(JPEG, exif(1, tail=JPEG)), "JPEG", *SPOTS)
    restarts = encode(IMAGE, "JPEG", quality=95, subsampling=0, restart_marker_blocks=1)
    yield ok("jpeg_restarts", restarts, "JPEG", *SPOTS)
    yield ok("jpeg_fill_bytes", with_segment(JPEG, b"\xff\xff\xff"), "JPEG", *SPOTS)
    for name, tail in {
        "garbage": b"\0garbage" * 50,
        "zip": b"PK\x03\x04" + bytes(99),
        "html": b"<script>1</script>",
    }.items():
        yield ok(f"jpeg_then_{name}", JPEG + tail, "JPEG", *SPOTS)
    yield ok("png_then_zip", PNG + b"PK\x03\x04" + bytes(99), "PNG", *SPOTS)
    yield ok("jpeg_with_script", with_segment(JPEG, segment(0xFE, b"*/<script>alert(1)</script>/*")), "JPEG", *SPOTS)
    yield from _profiles()


#: colorants as D50 XYZ, a row for each of red, green and blue
_SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
_DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def _to_srgb(rgb: Rgb, colorants: Sequence[Sequence[float]], gamma: float) -> Rgb:
    """A color of a matrix profile in sRGB (IEC 61966-2-1), clipped."""
    linear = (np.array(rgb) / 255) ** gamma @ np.array(colorants) @ np.linalg.inv(np.array(_SRGB))
    clipped = linear.clip(0, 1)
    coded = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(value) * 255) for value in coded)
    return red, green, blue


def _profiles() -> Iterator[Case]:
    red, green, blue = _SRGB
    swapped = Image.fromarray(np.ascontiguousarray(SCENE[..., [1, 0, 2]]))
    profile = icc(green, red, blue)
    spots = tuple(replace(spot, rgb=_to_srgb(spot.rgb, _SRGB, 2.2), off=8) for spot in SPOTS)
    jpeg = {"quality": 95, "subsampling": 0}
    yield ok("png_icc_swapped", encode(swapped, "PNG", icc_profile=profile), "PNG", *spots)
    yield ok("webp_icc_swapped", encode(swapped, "WEBP", icc_profile=profile, lossless=True), "WEBP", *spots)
    yield ok("jpeg_icc_swapped", encode(swapped, "JPEG", icc_profile=profile, **jpeg), "JPEG", *spots)
    display_p3 = icc(*_DISPLAY_P3)
    colors: tuple[Rgb, ...] = ((200, 60, 60), (100, 180, 90), (60, 70, 190), (240, 240, 240))
    seen = quadrants(*(_to_srgb(color, _DISPLAY_P3, 2.2) for color in colors))
    p3 = Image.fromarray(paint(*colors))
    yield ok("png_display_p3", encode(p3, "PNG", icc_profile=display_p3), "PNG", *seen)
    for name, broken in {"garbage": b"\xff" * 300, "cut": display_p3[:140], "short": b"icc"}.items():
        yield ok(f"png_icc_{name}", encode(IMAGE, "PNG", icc_profile=broken), "PNG", *SPOTS)
        data = encode(IMAGE, "JPEG", icc_profile=broken, **jpeg)
        yield ok(f"jpeg_icc_{name}", data, "JPEG", *SPOTS)


def cases() -> Iterator[Case]:
    for group in (_plain, _many, _depths, _inks, _metadata):
        yield from group()
