"""Hostile and odd pictures, made in memory: what ``probe`` must say of each and what a decoder must see in it.

Most valid ones show the same scene, four flat quadrants, 48 × 32: whatever the file does (turn it, invert it, store
16 bits, hide it behind a palette), the right answer has the same colors in the same corners.
"""

from __future__ import annotations

import corpus_heif
import corpus_hostile
import corpus_valid
from corpus_case import VALID, Case, Spot

__all__ = ["CASES", "VALID", "Case", "Spot"]

CASES: tuple[Case, ...] = (
    *corpus_valid.cases(),
    *corpus_hostile.cases(),
    *corpus_heif.valid(),
    *corpus_heif.hostile(),
)
