"""The compact U-Net: the torch module alone, shared by the family and by its training script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 96, 128)


def _conv(inputs: int, outputs: int, kernel: int = 3, *, groups: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Context(nn.Module):
    """Depthwise-separable dilated residuals and a global mean: what is figure depends on the whole picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(width, width, 5, groups=width, dilation=d), _conv(width, width, 1)) for d in (1, 2, 3)
        )
        self.whole = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x + cast(Tensor, self.whole(x.mean(dim=(2, 3))))[:, :, None, None]


class _Up(nn.Module):
    """Doubles the resolution and joins the encoder's features of the same scale."""

    def __init__(self, below: int, skip: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(_conv(below + skip, skip, 1), _conv(skip, skip))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return cast(Tensor, self.mix(torch.cat((x, skip), dim=1)))


class UNet(nn.Module):
    """U-Net (Ronneberger, Fischer, Brox 2015) with a depthwise-separable bottleneck: 0.45 M parameters.

    In: float (N, 3, H, W), normalized, H and W multiples of 16. Out: float (N, 1, H, W) logits of the alpha.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        *levels, deep = widths
        self.down = nn.ModuleList(
            nn.Sequential(_conv(a, b), _conv(b, b)) for a, b in zip((3, *levels), levels, strict=False)
        )
        self.deep = nn.Sequential(_conv(levels[-1], deep, 1), _Context(deep))
        self.up = nn.ModuleList(
            _Up(below, skip) for below, skip in zip((deep, *levels[:0:-1]), levels[::-1], strict=True)
        )
        self.head = nn.Conv2d(levels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.deep(x)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(x, skip)
        return cast(Tensor, self.head(x))
