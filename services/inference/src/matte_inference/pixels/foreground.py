"""The subject's own colors under its soft edges, where the background shines through."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from matte_inference.pixels.arrays import Float32Array, Tile, UInt8Array, resize, tiles, to_float32

#: colors are estimated at this number of pixels at most, and fitted to the picture at its own size
_MAX_PIXELS = 1_000_000
#: pixels around the soft ones, so that there are colors of subject and background to start from
_MARGIN = 32
#: steps per level, up to the first side and beyond it
_SMALL_SIDE, _SMALL_STEPS, _STEPS = 32, 10, 6
#: how much neighbors of equal alpha count; others count by their difference of alpha
_REGULARIZATION = np.float32(1e-5)
#: side of the squares that are fitted to the picture at once: floats are large
_TILE = 256


def estimate_foreground(rgb: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    """The subject's colors, uint8 (H, W, 3): other than ``rgb`` only where ``alpha``, uint8 (H, W), is neither 0 nor
    255. Where it never is, ``rgb`` itself.

    Source: T. Germer, T. Uelwer, S. Conrad, S. Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020. Its last
    level, the picture's own size, is a single step in tiles, so the memory is bounded.
    """
    box = _soft_box(alpha)
    if box is None:
        return rgb
    out = rgb.copy()
    part, flat, target = rgb[box], alpha[box], out[box]
    scale = min(1.0, math.sqrt(_MAX_PIXELS / flat.size))
    size = max(1, round(flat.shape[0] * scale)), max(1, round(flat.shape[1] * scale))
    layers = _estimate_layers(resize(part, *size).astype(np.float32), to_float32(resize(flat, *size)))
    if size == flat.shape:
        soft = (flat != 0) & (flat != 255)
        target[soft] = np.rint(layers[soft][:, :3])
        return out
    front, back = np.ascontiguousarray(layers[..., :3]), np.ascontiguousarray(layers[..., 3:])
    for tile in tiles(*flat.shape, side=_TILE):
        opacity = flat[tile.part]
        soft = (opacity != 0) & (opacity != 255)
        if not soft.any():
            continue
        total = _neighbor_weight(flat, tile)[soft]
        mean = np.concatenate((tile.enlarge(front)[soft], tile.enlarge(back)[soft]), axis=1)
        colors = part[tile.part][soft].astype(np.float32)
        fitted = _fit(mean, total, colors, to_float32(opacity[soft]))
        target[tile.part][soft] = np.rint(fitted[:, :3])
    return out


def _soft_box(alpha: UInt8Array) -> tuple[slice, slice] | None:
    """Rows and columns of all pixels that are neither 0 nor 255, with a margin; None if there are none."""
    left, top, width, height = cv2.boundingRect(cv2.inRange(alpha, 1, 254))
    if not width:
        return None
    rows = slice(max(0, top - _MARGIN), top + height + _MARGIN)
    return rows, slice(max(0, left - _MARGIN), left + width + _MARGIN)


def _estimate_layers(image: Float32Array, alpha: Float32Array) -> Float32Array:
    """Colors of subject and background, float32 (H, W, 6) in 0 … 255, from coarse to fine."""
    height, width = alpha.shape
    levels = max(1, math.ceil(math.log2(max(height, width))))
    step = height // _SMALL_SIDE + 1, width // _SMALL_SIDE + 1
    few, opacity = image[:: step[0], :: step[1]], alpha[:: step[0], :: step[1]]
    layers = np.concatenate([_mean_color(few, opacity > 0.9), _mean_color(few, opacity < 0.1)])[None, None]
    for level in range(levels + 1):
        size = round(height ** (level / levels)), round(width ** (level / levels))
        small, flat = (cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST) for array in (image, alpha))
        layers = cv2.resize(layers, size[::-1], interpolation=cv2.INTER_NEAREST)
        _keep_hard(layers, small, flat)
        coarse = max(size) <= _SMALL_SIDE
        _relax(layers, small, flat, everywhere=coarse, steps=_SMALL_STEPS if coarse else _STEPS)
    return layers


def _keep_hard(layers: Float32Array, image: Float32Array, alpha: Float32Array) -> None:
    """Sets the colors that need no estimate, in ``layers``, next to those that do."""
    soft = ((alpha > 0) & (alpha < 1)).view(np.uint8)
    near = np.flatnonzero(cv2.dilate(soft, np.ones((3, 3), np.uint8)))
    opacity, flat, colors = alpha.ravel()[near], layers.reshape(-1, 6), image.reshape(-1, 3)
    subject, background = near[opacity == 1], near[opacity == 0]
    flat[subject, :3] = colors[subject]
    flat[background, 3:] = colors[background]


def _mean_color(image: Float32Array, where: NDArray[np.bool_]) -> Float32Array:
    color: Float32Array = image[where].mean(axis=0) if where.any() else image.mean(axis=(0, 1))
    return color


def _relax(layers: Float32Array, image: Float32Array, alpha: Float32Array, *, everywhere: bool, steps: int) -> None:
    """Moves the colors of soft pixels, or of all, toward those of their neighbors that also reproduce the picture."""
    height, width = alpha.shape
    where = np.arange(alpha.size) if everywhere else np.flatnonzero((alpha > 0) & (alpha < 1))
    row, column = np.divmod(where, width)
    neighbors = (
        np.where(row > 0, where - width, where),
        np.where(row < height - 1, where + width, where),
        np.where(column > 0, where - 1, where),
        np.where(column < width - 1, where + 1, where),
    )
    flat, colors = layers.reshape(-1, 6), image.reshape(-1, 3)[where]
    opacity = alpha.ravel()[where]
    weights = [_REGULARIZATION + np.abs(alpha.ravel()[neighbor] - opacity) for neighbor in neighbors]
    total = sum(weights)
    shares = [(weight / total)[:, None] for weight in weights]
    for _ in range(steps):
        mean = sum(share * flat[neighbor] for share, neighbor in zip(shares, neighbors, strict=True))
        flat[where] = _fit(mean, total, colors, opacity)


def _neighbor_weight(alpha: UInt8Array, tile: Tile) -> Float32Array:
    """The sum of the four neighbors' weights for every pixel of the tile of ``alpha``."""
    rows, columns = tile.part
    top, left = max(0, rows.start - 1), max(0, columns.start - 1)  # the neighbors in other tiles count too
    flat = to_float32(alpha[top : rows.stop + 1, left : columns.stop + 1])
    wide = cv2.copyMakeBorder(flat, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    around = wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]
    total = np.full_like(flat, 4 * _REGULARIZATION)
    for neighbor in around:
        total += np.abs(neighbor - flat)
    return total[rows.start - top :, columns.start - left :][: rows.stop - rows.start, : columns.stop - columns.start]


def _fit(mean: Float32Array, total: Float32Array, colors: Float32Array, alpha: Float32Array) -> Float32Array:
    """Colors of subject and background, (N, 6), as close to ``mean``, (N, 6), as ``total``, the sum of the neighbors'
    weights, says, and as close to reproducing the picture's ``colors``, (N, 3).

    The solution of equation 6 of the paper for neighbors that are given.
    """
    opacity, rest = alpha[:, None], 1 - alpha[:, None]
    missing = colors - opacity * mean[:, :3] - rest * mean[:, 3:]
    missing /= opacity * opacity + rest * rest + total[:, None]
    fitted: Float32Array = np.clip(mean + np.concatenate((opacity * missing, rest * missing), axis=1), 0, 255)
    return fitted
