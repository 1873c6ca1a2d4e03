"""Color profiles and color models, to sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from matte_inference.pixels.types import Bytes

_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY", "LAB": "Lab"}


def _profile(icc: bytes | None, mode: str) -> ImageCms.ImageCmsProfile | None:
    """The profile when it fits pictures of ``mode`` and is not sRGB already, else None."""
    if not icc:
        return None
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    if profile.profile.xcolor_space.strip() != _SPACES.get(mode):
        return None
    described = profile.profile.profile_description or ""
    return None if "srgb" in described.lower() else profile


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """An RGB picture in sRGB, through the embedded profile where there is a sound one; a broken one is ignored.

    Raises:
        ValueError: the mode cannot be converted to RGB at all.
    """
    try:
        profile = _profile(icc, image.mode)
        if profile is None and image.mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        if profile is not None:
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, target, outputMode="RGB")
            assert converted is not None  # only None when done in place
            return converted
    except (ImageCms.PyCMSError, OSError, ValueError):
        pass
    return image.convert("RGB")


def rgb_to_srgb(rgb: Bytes, icc: bytes | None) -> Bytes:
    """uint8 (H, W, 3) in the profile's space to sRGB; returned as it is when there is nothing to convert."""
    if not icc:
        return rgb
    try:
        if _profile(icc, "RGB") is None:
            return rgb
    except (ImageCms.PyCMSError, OSError, ValueError):
        return rgb
    return np.asarray(to_srgb(Image.fromarray(rgb), icc))
