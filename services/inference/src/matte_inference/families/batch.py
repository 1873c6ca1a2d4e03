"""Batches in which one bad picture never fails its neighbors."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

import numpy as np
from matte_core.errors import Problem

from matte_inference.families.base import Alpha, Prepared, Segmenter


def forward_safely(segmenter: Segmenter, batch: Sequence[Prepared]) -> list[Alpha | Problem]:
    """``segmenter.forward``, one outcome per item, in order. Raises nothing.

    Out of memory: the batch is halved and tried again, down to single items; one that still fails gives
    ``Problem("out_of_memory")``. A :class:`Problem` that a single item raises is its outcome. Any other exception: the
    items are tried one by one, so that only the guilty one gives ``Problem("internal_error")``; so does an output with
    NaN or infinity.
    """
    try:
        alphas = segmenter.forward(batch)
        if len(alphas) != len(batch):
            raise RuntimeError(f"{len(alphas)} alphas for {len(batch)} pictures")
    except Exception as error:
        if isinstance(error, Problem) and len(batch) == 1:
            return [error]
        exhausted = is_out_of_memory(error)
        cause = type(error).__name__
    else:
        return [_sound(alpha) for alpha in alphas]
    # here the exception, and with it the frames that hold the failed batch's tensors, is gone
    if exhausted:
        free_memory()
    if len(batch) == 1:
        return [_problem(exhausted, cause)]
    step = (len(batch) + 1) // 2 if exhausted else 1
    parts = [batch[at : at + step] for at in range(0, len(batch), step)]
    return [outcome for part in parts for outcome in forward_safely(segmenter, part)]


def _sound(alpha: Alpha) -> Alpha | Problem:
    if np.isfinite(alpha).all():
        return alpha
    return Problem("internal_error", "The model's output is not a number on this picture.")


def _problem(exhausted: bool, cause: str) -> Problem:  # noqa: FBT001 - one call, just above
    if exhausted:
        return Problem("out_of_memory", "The model ran out of memory on this picture. Send it smaller, or try again.")
    return Problem("internal_error", f"The model failed on this picture ({cause}).")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: in Python, on the GPU, or in torch's CPU allocator, which says so in words only."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def free_memory() -> None:
    """Gives back what the failed forward held."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
