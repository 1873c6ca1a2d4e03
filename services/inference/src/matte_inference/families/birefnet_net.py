"""BiRefNet: a Swin that sees the picture twice, and a decoder that looks at the picture again at every size.

Source: P. Zheng et al., "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", CAAI AIR 2024,
arXiv 2401.03407, and the published implementation's settings. The modules have the names that the published checkpoints
use; those that only training needs are here because the checkpoints have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import deform_conv2d

from matte_inference.families.swin_net import Swin, SwinShape

#: sides are multiples of it: the smallest map must tile the picture
STEP = 32
#: channels inside a decoder's block, of a branch of its pyramid, inside the gradient's gate, of the picture's patches
_INNER, _BRANCH, _GATE, _PATCHES = 64, 256, 16, 64
#: sides of the deformable branches' kernels
_KERNELS = (1, 3, 7)

PatchOrder = Literal["channels", "columns"]
"""How a picture's patches lie in the channels: ``channels`` as in the published code since November 2024, one color
after the other; ``columns`` as before, one patch after the other, columns outermost."""


def fit(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


def patches(picture: Tensor, like: Tensor, order: PatchOrder) -> Tensor:
    """The picture (N, 3, H, W) cut into tiles of the size (h, w) of ``like``: (N, 3 · tiles, h, w)."""
    number, colors, height, width = picture.shape
    high, wide = like.shape[2:]
    cut = picture.reshape(number, colors, height // high, high, width // wide, wide)
    axes = (0, 1, 2, 4, 3, 5) if order == "channels" else (0, 4, 2, 1, 3, 5)
    return cut.permute(axes).flatten(1, 3)


class DeformableConv(nn.Module):
    """A convolution whose taps are moved and weighted by what it sees (X. Zhu et al., "Deformable ConvNets v2")."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.padding = (kernel // 2, kernel // 2)
        self.offset_conv = nn.Conv2d(channels, 2 * kernel**2, kernel, padding=self.padding)
        self.modulator_conv = nn.Conv2d(channels, kernel**2, kernel, padding=self.padding)
        self.regular_conv = nn.Conv2d(channels, out, kernel, padding=self.padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = 2 * torch.sigmoid(self.modulator_conv(x))
        offsets = self.offset_conv(x)
        return deform_conv2d(x, offsets, self.regular_conv.weight, padding=self.padding, mask=weights)  # type: ignore[no-any-return]


class Branch(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.atrous_conv = DeformableConv(channels, _BRANCH, kernel)
        self.bn = nn.BatchNorm2d(_BRANCH)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.atrous_conv(x)))


class Pyramid(nn.Module):
    """Deformable convolutions of several sizes and the mean of the whole map, mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.aspp1 = Branch(channels, 1)
        self.aspp_deforms = nn.ModuleList(Branch(channels, kernel) for kernel in _KERNELS)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, _BRANCH, 1, bias=False), nn.BatchNorm2d(_BRANCH), nn.ReLU()
        )
        self.conv1 = nn.Conv2d(_BRANCH * (2 + len(_KERNELS)), channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.aspp1(x), *(branch(x) for branch in self.aspp_deforms)]
        whole = self.global_avg_pool(x).expand_as(branches[0])
        return functional.relu(self.bn1(self.conv1(torch.cat([*branches, whole], dim=1))))


class DecoderBlock(nn.Module):
    """Few channels, a pyramid over them, and the channels that come next."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, _INNER, 3, padding=1)
        self.dec_att = Pyramid(_INNER)
        self.conv_out = nn.Conv2d(_INNER, out, 3, padding=1)
        self.bn_in, self.bn_out = nn.BatchNorm2d(_INNER), nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.dec_att(functional.relu(self.bn_in(self.conv_in(x))))
        return self.bn_out(self.conv_out(inner))  # type: ignore[no-any-return]


class PatchConvs(nn.Module):
    """What a decoder's block is told of the picture itself."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _PATCHES, 3, padding=1)
        self.conv_out = nn.Conv2d(_PATCHES, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv1(x))  # type: ignore[no-any-return]


class Lateral(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """From the smallest map to the picture's size; level 4 is the smallest, as in the checkpoints' names."""

    def __init__(self, channels: Sequence[int], order: PatchOrder) -> None:
        super().__init__()
        self.order: PatchOrder = order
        into = dict(zip((4, 3, 2, 1), reversed(channels), strict=True))
        out = {4: into[3], 3: into[2], 2: into[1], 1: into[1] // 2}
        seen = {5: into[4] // 8, 4: into[4] // 8, 3: into[3] // 8, 2: into[2] // 8, 1: into[1] // 8}
        for level, tiles in zip((5, 4, 3, 2, 1), (1024, 256, 64, 16, 1), strict=True):
            self.add_module(f"ipt_blk{level}", PatchConvs(3 * tiles, seen[level]))
        for level in (4, 3, 2, 1):
            self.add_module(f"decoder_block{level}", DecoderBlock(into[level] + seen[level + 1], out[level]))
        for level in (4, 3, 2):
            self._add_references(level, into[level - 1], out[level])
        self.conv_out1 = nn.Sequential(nn.Conv2d(out[1] + seen[1], 1, 1))

    def _add_references(self, level: int, lateral: int, out: int) -> None:
        self.add_module(f"lateral_block{level}", Lateral(lateral, out))
        self.add_module(f"conv_ms_spvn_{level}", nn.Conv2d(out, 1, 1))
        gate = nn.Sequential(nn.Conv2d(out, _GATE, 3, padding=1), nn.BatchNorm2d(_GATE), nn.ReLU())
        self.add_module(f"gdt_convs_{level}", gate)
        for kind in ("pred", "attn"):
            self.add_module(f"gdt_convs_{kind}_{level}", nn.Sequential(nn.Conv2d(_GATE, 1, 1)))

    def _at(self, name: str, level: int, x: Tensor) -> Tensor:
        return self.get_submodule(f"{name}{level}")(x)  # type: ignore[no-any-return]

    def forward(self, picture: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, 1, H, W) from the picture and the backbone's maps, the largest first."""
        x = maps[3]
        for level, lateral in ((4, maps[2]), (3, maps[1]), (2, maps[0])):
            x = self._block(level, picture, x)
            gate = self._at("gdt_convs_attn_", level, self._at("gdt_convs_", level, x))
            x = fit(x * gate.sigmoid(), lateral) + self._at("lateral_block", level, lateral)
        return self._out(picture, self._block(1, picture, x))

    def _block(self, level: int, picture: Tensor, x: Tensor) -> Tensor:
        seen = self._at("ipt_blk", level + 1, patches(picture, x, self.order))
        return self._at("decoder_block", level, torch.cat((x, seen), dim=1))

    def _out(self, picture: Tensor, x: Tensor) -> Tensor:
        """The last convolution has one tap, so it is done before the enlargement: a hundredth of the memory."""
        last = self.conv_out1[0]
        assert isinstance(last, nn.Conv2d)
        weights = torch.split(last.weight, [x.shape[1], last.in_channels - x.shape[1]], dim=1)
        seen = functional.conv2d(self._at("ipt_blk", 1, picture), weights[1], last.bias)
        return fit(functional.conv2d(x, weights[0]).float(), picture) + seen


class BiRefNet(nn.Module):
    """Logits (N, 1, H, W) for pictures (N, 3, H, W), normed as ImageNet's; H and W are multiples of :data:`STEP`."""

    def __init__(self, swin: SwinShape, order: PatchOrder = "channels") -> None:
        super().__init__()
        channels = [2 * c for c in swin.channels]  # of the picture, and of the picture at half size
        self.bb = Swin(swin)
        self.squeeze_module = nn.Sequential(DecoderBlock(sum(channels), channels[3]))
        self.decoder = Decoder(channels, order)

    def forward(self, picture: Tensor) -> Tensor:
        half = functional.interpolate(picture, scale_factor=0.5, mode="bilinear", align_corners=True)
        pairs = zip(self.bb(picture), self.bb(half), strict=True)
        maps = [torch.cat((whole, fit(small, whole)), dim=1) for whole, small in pairs]
        context = torch.cat([*(fit(larger, maps[3]) for larger in maps[:3]), maps[3]], dim=1)
        return self.decoder(picture, [*maps[:3], self.squeeze_module(context)])  # type: ignore[no-any-return]
