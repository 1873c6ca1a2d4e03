"""Pictures of masks that differ, for people; and small masks, as they pass between versions."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from matte_core.contracts.evidence import Agreement, MaskComparison
from matte_core.contracts.k8s.rollout import AgreementCheck

from matte_inference.analysis.masks import shrunk
from matte_inference.pixels.types import Bytes

#: pixels of the longer side
SIDE = 512
_CHECK = AgreementCheck()


def packed(mask: Bytes) -> bytes:
    """A mask as PNG."""
    coded: Bytes = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return coded.tobytes()


def unpacked(data: bytes) -> Bytes | None:
    """What :func:`packed` made; None for anything that is no picture."""
    array = np.frombuffer(data, np.uint8)
    return cv2.imdecode(array, cv2.IMREAD_GRAYSCALE) if array.size else None


def differ(found: Agreement) -> bool:
    """Whether masks differ so much that people want to see them: the default of a rollout's own judgment."""
    return _CHECK.rejects(found)


def shown(name: str, stable: str, found: Agreement, pictures: tuple[Bytes, Bytes, Bytes], at: float) -> MaskComparison:
    """Two masks side by side.

    Args:
        name: of the job or the golden image.
        stable: the version that ``pictures[1]`` is of.
        found: how far they agree.
        pictures: the picture (H, W, 3) in RGB, stable's mask and the new one's.
        at: Unix seconds.
    """
    rgb, theirs, ours = (shrunk(array, SIDE) for array in pictures)
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return MaskComparison(
        at=at, name=name, stable=stable, agreement=found, picture=_text(jpeg), stable_mask=_text(packed(theirs)),
        canary_mask=_text(packed(ours)), difference=_text(packed(cv2.absdiff(ours, theirs))),
    )  # fmt: skip


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
