"""What the torch families share: where they run, and how precisely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from matte_core.contracts.catalog import VersionConfig
from torch import Tensor, nn

from matte_inference.pixels.types import Floats

M = TypeVar("M", bound=nn.Module)


def chosen_device(config: VersionConfig, device: str | None) -> str:
    """``device``, or cuda where there is one and the version has a GPU, else cpu; sets torch's CPU threads."""
    if device is None:
        device = "cuda" if config.num_gpus > 0 and torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(config.threads)
    return device


def placed(module: M, device: str) -> M:
    """The module on its device, for inference only, in the memory layout that convolutions are fastest in."""
    ready = module.eval().requires_grad_(requires_grad=False).to(device)
    return ready.to(memory_format=torch.channels_last)


@contextmanager
def inference(device: str) -> Iterator[None]:
    """No gradients; bfloat16 on a GPU."""
    kind = torch.device(device).type
    with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
        yield


def stacked(batch: Sequence[Floats], device: str) -> Tensor:
    """Pictures (3, H, W) of one size as one tensor (N, 3, H, W) on the device."""
    tensor = torch.from_numpy(np.stack(batch)) if len(batch) > 1 else torch.from_numpy(batch[0])[None]
    if device != "cpu":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor.contiguous(memory_format=torch.channels_last)


def unstacked(alphas: Tensor) -> list[Floats]:
    """A tensor (N, H, W) as N float32 arrays on the CPU."""
    return list(alphas.float().cpu().numpy())
