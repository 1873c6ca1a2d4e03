"""The Swin transformer as a backbone: four maps of features, at 1/4 … 1/32 of the picture's size.

Source: Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021. The modules
have the names that published checkpoints use. Inside, maps are (N, H, W, C).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

#: tokens of this many pixels' side; rows and columns that one token of the next stage takes in
_PATCH, _MERGE = 4, 2
#: of the backbone's tensors in a checkpoint
_PREFIX = "bb."
STAGES = range(4)


@dataclass(frozen=True, slots=True)
class SwinShape:
    """What tells one Swin from another: channels of the first stage, blocks and heads per stage, window's side."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the four maps, the largest map first."""
        return tuple(self.width * 2**stage for stage in STAGES)

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """The shape that a checkpoint's tensors have; KeyError names a tensor without which it cannot be told."""
        tables = [shapes[f"{_PREFIX}layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in STAGES]
        blocks = {tuple(name.removeprefix(_PREFIX).split(".")[1:4:2]) for name in shapes if ".blocks." in name}
        return cls(
            width=shapes[f"{_PREFIX}patch_embed.proj.weight"][0],
            depths=tuple(sum(stage == str(i) for stage, _ in blocks) for i in STAGES),
            heads=tuple(table[1] for table in tables),
            window=(math.isqrt(tables[0][0]) + 1) // 2,
        )


#: of the published BiRefNet checkpoints: lite, and full
SWIN_T = SwinShape(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)
SWIN_L = SwinShape(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12)


def position_index(side: int, device: torch.device | str | None = None) -> Tensor:
    """Which row of the bias table holds for each pair of a window's tokens: int64 (side², side²)."""
    steps = torch.arange(side, device=device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    apart_y, apart_x = (axis.flatten()[:, None] - axis.flatten()[None, :] + side - 1 for axis in (y, x))
    return apart_y * (2 * side - 1) + apart_x


def to_windows(x: Tensor, side: int) -> Tensor:
    """(N, H, W, C) as windows (N · windows, side², C), row by row."""
    height, width, channels = x.shape[1:]
    cut = x.reshape(-1, height // side, side, width // side, side, channels)
    return cut.transpose(2, 3).reshape(-1, side * side, channels)


def from_windows(windows: Tensor, size: torch.Size, side: int) -> Tensor:
    """The map (N, H, W, C) of ``size`` again."""
    height, width, channels = size[1:]
    return windows.view(-1, height // side, width // side, side, side, channels).transpose(2, 3).reshape(size)


def seam_mask(height: int, width: int, side: int, like: Tensor) -> Tensor:
    """(windows, side², side²): 0 where two tokens of a shifted window touch in the picture too, else minus infinity."""
    shift = side // 2
    bands = []
    for length in (height, width):
        band = torch.zeros(length, device=like.device)
        band[-side:-shift] = 1
        band[-shift:] = 2
        bands.append(band)
    regions = to_windows((3 * bands[0][:, None] + bands[1])[None, :, :, None], side)
    apart = regions != regions.transpose(1, 2)
    return torch.zeros(apart.shape, dtype=like.dtype, device=like.device).masked_fill(apart, -math.inf)


class WindowAttention(nn.Module):
    """Attention within windows, with a bias for how far two tokens are apart."""

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", position_index(side))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Windows (N · windows, tokens, C); ``mask`` (windows, tokens, tokens) holds for each picture's."""
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None].to(q.dtype)
        if mask is not None:
            bias = (bias + mask[:, None].to(q.dtype)).repeat(len(x) // len(mask), 1, 1, 1)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then a perceptron, each added to what came in."""

    def __init__(self, channels: int, heads: int, side: int, *, shifted: bool) -> None:
        super().__init__()
        self.side, self.shift = side, side // 2 if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, side)
        layers = {"fc1": nn.Linear(channels, 4 * channels), "act": nn.GELU(), "fc2": nn.Linear(4 * channels, channels)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, H, W, C) of any size; ``mask`` is the one of the padded size."""
        height, width = x.shape[1:3]
        y = functional.pad(self.norm1(x), (0, 0, 0, -width % self.side, 0, -height % self.side))
        y = y.roll((-self.shift, -self.shift), (1, 2))
        done = self.attn(to_windows(y, self.side), mask if self.shift else None)
        y = from_windows(done, y.shape, self.side).roll((self.shift, self.shift), (1, 2))
        x = x + y[:, :height, :width]
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Merging(nn.Module):
    """Four neighboring tokens become one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, ⌈H/2⌉, ⌈W/2⌉, 2 C)."""
        x = functional.pad(x, (0, 0, 0, x.shape[2] % _MERGE, 0, x.shape[1] % _MERGE))
        parts = [x[:, row::_MERGE, column::_MERGE] for column in range(_MERGE) for row in range(_MERGE)]
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Blocks of one size, every second one with windows shifted by half a window."""

    def __init__(self, shape: SwinShape, stage: int) -> None:
        super().__init__()
        channels, heads = shape.channels[stage], shape.heads[stage]
        self.side = shape.window
        self.blocks = nn.ModuleList(
            Block(channels, heads, shape.window, shifted=i % 2 == 1) for i in range(shape.depths[stage])
        )
        self.downsample = Merging(channels) if stage < STAGES[-1] else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to the same size; :attr:`downsample` is for the next stage."""
        height, width = x.shape[1:3]
        mask = seam_mask(height + -height % self.side, width + -width % self.side, self.side, x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class PatchEmbed(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, _PATCH, stride=_PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, H/4, W/4, C)."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class Swin(nn.Module):
    """Pictures (N, 3, H, W), H and W multiples of 4, to four maps (N, C, h, w), the largest first."""

    def __init__(self, shape: SwinShape) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(shape.width)
        self.layers = nn.ModuleList(Stage(shape, stage) for stage in STAGES)
        for stage in STAGES:
            self.add_module(f"norm{stage}", nn.LayerNorm(shape.channels[stage]))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        x = self.patch_embed(x)
        for stage in STAGES:
            layer = self.get_submodule(f"layers.{stage}")
            x = layer(x)
            maps.append(self.get_submodule(f"norm{stage}")(x).permute(0, 3, 1, 2))
            if stage < STAGES[-1]:
                x = layer.get_submodule("downsample")(x)
        return maps
