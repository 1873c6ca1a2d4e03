"""Where the subject is, before anything is known about it: priors that GrabCut starts from."""

from __future__ import annotations

import cv2
import numpy as np

from matte_inference.pixels.types import Bytes, Floats


def center_prior(height: int, width: int, *, spread: float = 0.33) -> Floats:
    """A Gaussian about the centre, float32 (H, W), 1 at its top; ``spread`` is its deviation over the side."""
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    return np.exp(-(x * x + y * y) / (2 * spread * spread))  # type: ignore[no-any-return]


def barrier_distance(lab: Floats, seeds: NDArrayBool, *, rounds: int = 3) -> Floats:
    """The minimum barrier distance of every pixel to the seeds: float32 (H, W).

    The barrier of a path is the range of values on it, summed over the channels: a subject that edges close off is
    far from the border although its colours vary. Source: J. Zhang et al., "Minimum Barrier Salient Object
    Detection at 80 FPS", ICCV 2015; here every sweep moves a whole row or column at once.
    """
    raise NotImplementedError
