"""Edge-aware refinement: fits a coarse alpha to the edges of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from matte_inference.pixels.arrays import Float32Array, UInt8Array, fit_within, resize, tiles, to_float32, to_uint8

#: radius of the windows, a share of the longer side of the fit at ``_FIT_SIDE``; variances below epsilon count as flat
_RADIUS, _EPSILON = 0.008, 1e-4
#: the filter's linear model is fitted at this size, or at the alpha's own if that has more detail, up to the second
_FIT_SIDE, _MAX_FIT_SIDE = 400, 1024
#: rows that the model is fitted to at once, and sides of the squares that it is applied to: floats are large
_STRIP, _TILE = 128, 256


def guided_model(guide: Float32Array, source: Float32Array, radius: int) -> tuple[Float32Array, Float32Array]:
    """The local linear model source ≈ a · guide + b: a (H, W, 3), b (H, W), averaged over windows.

    ``guide`` is float32 (H, W, 3) in 0 … 1, ``source`` float32 (H, W), ``radius`` that of the windows, pixels.
    Source: K. He, J. Sun, X. Tang, "Guided Image Filtering", PAMI 2013, equations 14 to 16 (color guide).
    """
    size = (2 * radius + 1, 2 * radius + 1)
    channels = cv2.split(guide)
    means = [cv2.blur(channel, size) for channel in channels]
    mean_p = cv2.blur(source, size)
    c0, c1, c2 = (
        cv2.blur(channel * source, size) - mean * mean_p for channel, mean in zip(channels, means, strict=True)
    )

    def covariance(i: int, j: int) -> Float32Array:
        covered: Float32Array = cv2.blur(channels[i] * channels[j], size) - means[i] * means[j]
        return covered + np.float32(_EPSILON) if i == j else covered

    # (covariance + epsilon) a = c by LDLᵀ decomposition, for all pixels at once: unlike an explicit inverse, it is
    # exact enough in float32 where the picture is gray and the three channels say the same
    d0 = covariance(0, 0)
    s01, s02 = covariance(0, 1), covariance(0, 2)
    l10, l20 = s01 / d0, s02 / d0
    d1 = covariance(1, 1) - l10 * s01
    t = covariance(1, 2) - l10 * s02
    l21 = t / d1
    d2 = covariance(2, 2) - l20 * s02 - l21 * t
    z1 = c1 - l10 * c0
    z2 = c2 - l20 * c0 - l21 * z1
    a2 = z2 / d2
    a1 = z1 / d1 - l21 * a2
    a0 = c0 / d0 - l10 * a1 - l20 * a2
    b = mean_p - a0 * means[0] - a1 * means[1] - a2 * means[2]
    return cv2.blur(cv2.merge((a0, a1, a2)), size), cv2.blur(b, size)


@dataclass(frozen=True, slots=True)
class _Fit:
    """The filter at the size that it is fitted at, (h, w)."""

    coarse: Float32Array  # the alpha
    near: Float32Array  # 1 close to an edge of the alpha, fading to 0: how much of the model is taken
    model: Float32Array  # (h, w, 4): the alpha as a linear function of red, green, blue and 255; 0 where near is 0


def refine(rgb: UInt8Array, alpha: Float32Array) -> UInt8Array:
    """A coarse alpha, float32 (h, w) in 0 … 1, fitted to the picture's edges: uint8 (H, W).

    The model is fitted at reduced size and applied at full size (K. He, J. Sun, "Fast Guided Filter", 2015), in tiles:
    beyond its result it needs a few megabytes, however large the picture. Far from the coarse edge the alpha is left
    alone, so textures inside the subject do not shine through, and most tiles are only enlarged.
    """
    fit = _fit(rgb, alpha)
    out = resize(to_uint8(_sharpen(fit.coarse)), *rgb.shape[:2])
    edges, model = cv2.merge((fit.coarse, fit.near)), fit.model
    top = float(fit.coarse.max())  # a faint haze stays one
    for tile in tiles(*rgb.shape[:2], side=_TILE):
        plain, near = cv2.split(tile.enlarge(edges))
        if not near.any():
            continue
        rgba = cv2.cvtColor(rgb[tile.part], cv2.COLOR_RGB2RGBA)  # the fourth channel is 255
        fine = cv2.transform(cv2.multiply(tile.enlarge(model), rgba, dtype=cv2.CV_32F), np.ones((1, 4), np.float32))
        out[tile.part] = to_uint8(_sharpen(plain + near * (np.clip(fine, 0, top) - plain)))
    return out


def _sharpen(alpha: Float32Array) -> Float32Array:
    """Without the haze that the window's tails leave on both sides of an edge."""
    out: Float32Array = np.clip((alpha - np.float32(0.06)) * np.float32(1 / 0.88), 0, 1)
    return out


def _fit(rgb: UInt8Array, alpha: Float32Array) -> _Fit:
    height, width = rgb.shape[:2]
    small = fit_within(height, width, side=min(max(_FIT_SIDE, *alpha.shape), _MAX_FIT_SIDE))
    # a finer alpha is off by fewer of the picture's pixels, and by more of its own
    reach = max(2, round(_RADIUS * min(max(small), (_FIT_SIDE * max(small)) ** 0.5)))
    coarse, guide = resize(alpha, *small), resize(rgb, *small)
    # 1 within ``reach`` of a coarse edge, fading to 0 beyond
    edge = cv2.morphologyEx(coarse, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    edge *= np.float32(max(1, max(small) / _FIT_SIDE))  # the same edge, seen at more pixels, is less steep
    wide = cv2.dilate(edge, np.ones((2 * reach + 1,) * 2, np.uint8))
    near: Float32Array = np.clip(cv2.blur(wide, (reach + 1,) * 2), 0, 1)
    near[near < np.float32(1 / 255)] = 0
    model = np.zeros((*small, 4), np.float32)
    margin = 4 * reach  # two passes with two windows each
    for top in range(0, small[0], _STRIP):
        bottom = min(top + _STRIP, small[0])
        columns = np.flatnonzero(near[top:bottom].any(axis=0))
        if not columns.size:
            continue
        left, right = int(columns[0]), int(columns[-1]) + 1
        y, x = max(0, top - margin), max(0, left - margin)
        part = np.s_[y : bottom + margin, x : right + margin]
        a, b = _fit_twice(to_float32(guide[part]), coarse[part], reach)
        inner = np.s_[top - y : bottom - y, left - x : right - x]
        model[top:bottom, left:right, :3], model[top:bottom, left:right, 3] = a[inner], b[inner]
    model *= np.float32(1 / 255)
    return _Fit(coarse, near, model)


def _fit_twice(guide: Float32Array, coarse: Float32Array, reach: int) -> tuple[Float32Array, Float32Array]:
    a, b = guided_model(guide, coarse, reach)
    once = np.einsum("hwc,hwc->hw", a, guide) + b
    return guided_model(guide, np.clip((once - 0.1) / 0.8, 0, 1), reach)  # again, from a better start
