"""Edge-aware refinement: a coarse alpha takes the edges of the picture."""

from __future__ import annotations

import cv2
import numpy as np

from matte_inference.pixels.resize import fitted, resized
from matte_inference.pixels.types import Bytes, Floats, bytes_of, floats

#: the filter's linear model is fitted at this size and applied at full size
_FIT_SIDE = 400
#: larger pictures get the alpha of this size, enlarged: bounds the memory
_FULL_SIDE = 3000


def guided_model(guide: Floats, source: Floats, radius: int, epsilon: float) -> tuple[Floats, Floats]:
    """The local linear model source ≈ a · guide + b: a (H, W, 3), b (H, W), averaged over windows.

    Source: K. He, J. Sun, X. Tang, "Guided Image Filtering", PAMI 2013, equations 14 to 16 (color guide).

    Args:
        guide: colors, float32 (H, W, 3) in 0 … 1.
        source: what is filtered, float32 (H, W).
        radius: of the windows, pixels.
        epsilon: variances below it count as flat.
    """
    size = (2 * radius + 1, 2 * radius + 1)
    mean_i, mean_p = cv2.blur(guide, size), cv2.blur(source, size)
    cov_ip = cv2.blur(guide * source[..., None], size) - mean_i * mean_p[..., None]
    rows, columns = np.triu_indices(3)
    blurred = cv2.blur(guide[..., rows] * guide[..., columns], size)
    sigma = np.empty((*source.shape, 3, 3), np.float32)
    for k, (i, j) in enumerate(zip(rows, columns, strict=True)):
        sigma[..., i, j] = sigma[..., j, i] = blurred[..., k] - mean_i[..., i] * mean_i[..., j]
    sigma += np.float32(epsilon) * np.eye(3, dtype=np.float32)
    a = np.linalg.solve(sigma, cov_ip[..., None])[..., 0].astype(np.float32)
    b = mean_p - np.einsum("hwc,hwc->hw", a, mean_i)
    return cv2.blur(a, size), cv2.blur(b, size)


def refine(rgb: Bytes, alpha: Floats, *, radius: float = 0.008, epsilon: float = 1e-4) -> Bytes:
    """A coarse alpha, float32 (h, w) in 0 … 1, fitted to the picture's edges: uint8 (H, W).

    The model is fitted at reduced size and applied at full size (K. He, J. Sun, "Fast Guided Filter", 2015).
    ``radius`` is a share of the longer side. Far from the coarse edge the alpha is left alone, so textures inside
    the subject do not shine through.
    """
    height, width = fitted(*rgb.shape[:2], side=_FULL_SIDE)
    small = fitted(height, width, side=_FIT_SIDE)
    reach = max(2, round(radius * max(small)))
    coarse = resized(alpha, *small)
    guide = floats(resized(rgb, *small))
    a, b = guided_model(guide, coarse, reach, epsilon)
    once = np.einsum("hwc,hwc->hw", a, guide) + b
    a, b = guided_model(guide, np.clip((once - 0.1) / 0.8, 0, 1), reach, epsilon)  # again, from a better start
    full = floats(resized(rgb, height, width))
    fine = np.einsum("hwc,hwc->hw", resized(a, height, width), full) + resized(b, height, width)
    near = resized(_edge_band(coarse, reach), height, width)
    plain = resized(coarse, height, width)
    mixed = plain + near * (np.clip(fine, 0, 1) - plain)
    sharp = np.clip((mixed - 0.06) / 0.88, 0, 1)  # the window's tails leave a haze on both sides
    return resized(bytes_of(sharp), *rgb.shape[:2])


def _edge_band(alpha: Floats, reach: int) -> Floats:
    """1 within ``reach`` of an edge of the alpha, fading to 0 beyond."""
    edge = cv2.morphologyEx(alpha, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    wide = cv2.dilate(edge, np.ones((2 * reach + 1,) * 2, np.uint8))
    band: Floats = np.clip(cv2.blur(wide, (reach + 1,) * 2), 0, 1)
    return band
