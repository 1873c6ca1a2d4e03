"""Changes an alpha where the caller's hints contradict it, with GrabCut (C. Rother, V. Kolmogorov, A. Blake, 2004).

For all models that do not take hints themselves. Maps are (h, w) at working size.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from matte_core.contracts.options import Hint
from numpy.typing import NDArray

from matte_inference.pixels.arrays import Float32Array, UInt8Array, fit_within, resize
from matte_inference.pixels.graph_cut import barrier_distance, cut_graph

#: working size, pixels of the longer side; the barrier of colors is measured at the second, and its result enlarged
_SIDE, _BARRIER_SIDE = 400, 200
#: pictures with a shorter side than this have no parts
_MIN_SIDE = 8
_ROUNDS = 3
#: a point stands for the pixels in this radius, a share of the longer side
_POINT_RADIUS = 0.01
#: the alpha of what is sure, and the share of a box that is filled if the model saw a subject in it
_SURE, _SEEN = 0.9, 0.1

Mask = NDArray[np.bool_]


def refine_with_hints(rgb: UInt8Array, alpha: Float32Array, hints: Sequence[Hint]) -> Float32Array:
    """``alpha``, float32 (h, w) in 0 … 1 at any size, with what subject hints mark and without what others mark.

    A hint that the alpha agrees with changes nothing. One that it contradicts moves the part of ``rgb``, uint8
    (H, W, 3), that it lies on, as GrabCut finds it, starting from the alpha. With boxes, nothing is left outside of
    them but what other subject hints mark.
    """
    size = fit_within(*rgb.shape[:2], side=_SIDE)
    if min(size) < _MIN_SIDE or not hints:
        return alpha
    small, found = resize(rgb, *size), resize(alpha, *size) >= 0.5
    boxes = [_box_part(hint, size) for hint in hints if hint.is_box]
    subject, background = _draw(hints, size, subject=True), _draw(hints, size, subject=False)
    removed = np.zeros(size, bool)
    added = np.zeros(size, bool)
    if boxes:
        inside = np.zeros(size, bool)
        for box in boxes:
            inside[box] = True
            if found[box].mean() < _SEEN:
                added |= _find_in_box(small, box, background)
        removed = ~(inside | touching(found, subject & ~inside))
    removed |= _part_to_remove(small, found & ~removed, subject, background)
    added |= _part_to_add(small, found & ~removed, subject & ~(added | (found & ~removed)), background)
    without = alpha * (1 - _soften(removed & ~added, alpha.shape))
    changed: Float32Array = np.maximum(without, _soften(added, alpha.shape))
    return changed


def _box_part(hint: Hint, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a box, at least one of each."""
    left, top, right, bottom = hint.at
    y, x = min(int(top * size[0]), size[0] - 1), min(int(left * size[1]), size[1] - 1)
    return slice(y, max(y + 1, round(bottom * size[0]))), slice(x, max(x + 1, round(right * size[1])))


def _draw(hints: Sequence[Hint], size: tuple[int, int], *, subject: bool) -> Mask:
    """The pixels under the points and strokes of one kind."""
    canvas, longer = np.zeros(size, np.uint8), max(size)
    for hint in hints:
        if hint.is_box or hint.subject is not subject:
            continue
        places = [(min(int(x * size[1]), size[1] - 1), min(int(y * size[0]), size[0] - 1)) for x, y in hint.points]
        if hint.width is None:
            cv2.circle(canvas, places[0], max(1, round(_POINT_RADIUS * longer)), 1, -1)
        else:
            cv2.polylines(
                canvas,
                [np.array(places, np.int32)],
                isClosed=False,
                color=1,
                thickness=max(1, round(hint.width * longer)),
            )
    return canvas > 0


def _part_to_add(rgb: UInt8Array, found: Mask, missing: Mask, background: Mask) -> Mask:
    """What the subject hints mark outside of the subject that was found."""
    if not missing.any():
        return missing
    edge = np.zeros_like(found)
    edge[0] = edge[:, 0] = edge[:, -1] = True  # not the bottom: subjects stand on it
    likely = _closer(rgb, missing, (edge | background) & ~found & ~missing)
    cut = _cut(rgb, subject=missing | (found & ~background), background=background & ~missing, likely=likely)
    return touching(cut & ~found & ~background, missing) | missing


def _part_to_remove(rgb: UInt8Array, found: Mask, subject: Mask, background: Mask) -> Mask:
    """What the background hints mark of the subject that was found."""
    wrong = background & found & ~subject
    if not wrong.any():
        return wrong
    far = cv2.distanceTransform((~wrong).astype(np.uint8), cv2.DIST_L2, 3)
    kept = found & ((far >= np.median(far[found])) | subject) & ~wrong
    likely = found & ~_closer(rgb, wrong, kept)
    cut = _cut(rgb, subject=subject & ~wrong, background=wrong | ~(found | subject), likely=likely)
    return touching(found & ~cut & ~subject, wrong) | wrong


def _find_in_box(rgb: UInt8Array, box: tuple[slice, slice], background: Mask) -> Mask:
    """The subject of a box in which the model saw none; all of the box if nothing in it stands out."""
    inside = np.zeros(background.shape, bool)
    inside[box] = True
    cut = _cut(rgb, subject=np.zeros_like(inside), background=~inside | background, likely=inside)
    return cut if cut.any() else inside & ~background


def _cut(rgb: UInt8Array, *, subject: Mask, background: Mask, likely: Mask) -> Mask:
    """The subject as GrabCut finds it, from what is sure and what is likely."""
    mask = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[background] = cv2.GC_BGD
    mask[subject] = cv2.GC_FGD
    if (mask & 1).all() or not (mask & 1).any():  # nothing to learn one of the two kinds from
        return (mask & 1) > 0
    return cut_graph(rgb, mask, _ROUNDS) > 0


def _closer(rgb: UInt8Array, seeds: Mask, others: Mask) -> Mask:
    """Where the way from ``seeds`` crosses fewer colors than the way from ``others``."""
    if not others.any():
        return np.ones_like(seeds)
    size = fit_within(*seeds.shape, side=_BARRIER_SIDE)
    smooth = cv2.bilateralFilter(resize(rgb, *size), 5, 25, 5)
    lab: Float32Array = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    near, far = (barrier_distance(lab, resize(part.astype(np.float32), *size) > 0) for part in (seeds, others))
    closer: Mask = resize((near < far).astype(np.float32), *seeds.shape) >= 0.5
    return closer


def touching(part: Mask, marks: Mask) -> Mask:
    """The connected pieces of ``part`` that have a pixel of ``marks``."""
    _, labels = cv2.connectedComponents(part.astype(np.uint8), connectivity=4)
    chosen = np.unique(labels[marks & part])
    return np.isin(labels, chosen) & part


def _soften(part: Mask, shape: tuple[int, ...]) -> Float32Array:
    """0 … 1 at another size (h, w), without stairs."""
    blurred: Float32Array = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 0.8)
    return resize(blurred, shape[0], shape[1])
