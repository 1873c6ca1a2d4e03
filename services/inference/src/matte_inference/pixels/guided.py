"""Edge-aware refinement: fits a coarse alpha to the edges of the picture."""

from __future__ import annotations

import cv2
import numpy as np

from matte_inference.pixels.arrays import Float32Array, UInt8Array, fit_within, resize, to_float32, to_uint8

#: radius of the windows, a share of the longer side; variances below epsilon count as flat
_RADIUS, _EPSILON = 0.008, 1e-4
#: the filter's linear model is fitted at this size and applied at full size
_FIT_SIDE = 400
#: the largest size that it is applied at; the alpha of larger pictures is enlarged, which bounds the memory
_MAX_SIDE = 3000


def guided_model(guide: Float32Array, source: Float32Array, radius: int) -> tuple[Float32Array, Float32Array]:
    """The local linear model source ≈ a · guide + b: a (H, W, 3), b (H, W), averaged over windows.

    ``guide`` is float32 (H, W, 3) in 0 … 1, ``source`` float32 (H, W), ``radius`` that of the windows, pixels.
    Source: K. He, J. Sun, X. Tang, "Guided Image Filtering", PAMI 2013, equations 14 to 16 (color guide).
    """
    size = (2 * radius + 1, 2 * radius + 1)
    mean_i, mean_p = cv2.blur(guide, size), cv2.blur(source, size)
    cov_ip = cv2.blur(guide * source[..., None], size) - mean_i * mean_p[..., None]
    rows, columns = np.triu_indices(3)
    blurred = cv2.blur(guide[..., rows] * guide[..., columns], size)
    sigma = np.empty((*source.shape, 3, 3), np.float32)
    for k, (i, j) in enumerate(zip(rows, columns, strict=True)):
        sigma[..., i, j] = sigma[..., j, i] = blurred[..., k] - mean_i[..., i] * mean_i[..., j]
    sigma += np.float32(_EPSILON) * np.eye(3, dtype=np.float32)
    a = np.linalg.solve(sigma, cov_ip[..., None])[..., 0].astype(np.float32)
    b = mean_p - np.einsum("hwc,hwc->hw", a, mean_i)
    return cv2.blur(a, size), cv2.blur(b, size)


def refine(rgb: UInt8Array, alpha: Float32Array) -> UInt8Array:
    """A coarse alpha, float32 (h, w) in 0 … 1, fitted to the picture's edges: uint8 (H, W).

    The model is fitted at reduced size and applied at full size (K. He, J. Sun, "Fast Guided Filter", 2015).
    Far from the coarse edge the alpha is left alone, so textures inside the subject do not shine through.
    """
    height, width = fit_within(*rgb.shape[:2], side=_MAX_SIDE)
    small = fit_within(height, width, side=_FIT_SIDE)
    reach = max(2, round(_RADIUS * max(small)))
    coarse = resize(alpha, *small)
    guide = to_float32(resize(rgb, *small))
    a, b = guided_model(guide, coarse, reach)
    once = np.einsum("hwc,hwc->hw", a, guide) + b
    a, b = guided_model(guide, np.clip((once - 0.1) / 0.8, 0, 1), reach)  # again, from a better start
    full = to_float32(resize(rgb, height, width))
    fine = np.einsum("hwc,hwc->hw", resize(a, height, width), full) + resize(b, height, width)
    # 1 within ``reach`` of a coarse edge, fading to 0 beyond
    edge = cv2.morphologyEx(coarse, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    wide = cv2.dilate(edge, np.ones((2 * reach + 1,) * 2, np.uint8))
    band: Float32Array = np.clip(cv2.blur(wide, (reach + 1,) * 2), 0, 1)
    near = resize(band, height, width)
    plain = resize(coarse, height, width)
    mixed = plain + near * (np.clip(fine, 0, 1) - plain)
    sharp = np.clip((mixed - 0.06) / 0.88, 0, 1)  # the window's tails leave a haze on both sides
    return resize(to_uint8(sharp), *rgb.shape[:2])
