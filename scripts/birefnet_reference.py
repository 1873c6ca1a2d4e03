"""Reference values for the tests of BiRefNet, computed by the published implementation.

    python scripts/birefnet_reference.py CHECKOUT tests/data

CHECKOUT is a folder with the published code (github.com/ZhengPeng7/BiRefNet, MIT; the values in tests/data are of
commit 25cb930, with torch 2.15). It needs timm and einops, which Matte does not, but not kornia and the data set's
labels, which only training uses. No trained weights are needed: both sides fill their tensors with :func:`filled`.

It writes ``birefnet_tensors.json``, the names and shapes of the lite (Swin-T) and full (Swin-L) checkpoints, and
``birefnet_logits.npz``, the last prediction of a small network (:data:`SMALL`) for :func:`picture`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: embed_dim, depths, num_heads, window_size of the small network
SMALL: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8], "window_size": 4}
#: what the checkpoints' Swin is called there, and the channels of its smallest map
PUBLISHED = {"swin_v1_t": 768, "swin_v1_l": 1536}


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values of -1 … 1 that depend only on the name; from raw bits, whose order NumPy guarantees."""
    bits = np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    raw = bits.random_raw(int(np.prod(shape)))
    return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-52 - 1


def filled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that depend on the names: every layer keeps the scale of its input; integers stay as they are."""
    weights = dict(tensors)
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            values = uniform(name, tuple(tensor.shape))
            if tensor.ndim > 1:
                values *= np.sqrt(3 / np.prod(tensor.shape[1:]))
            elif name.endswith(("weight", "running_var")):
                values = 1 + 0.3 * values
            else:
                values *= 0.2
            weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def picture() -> Tensor:
    """Two pictures, float32 (2, 3, 64, 96): several windows, not square, some of them padded."""
    return torch.from_numpy(uniform("picture", (2, 3, 64, 96)).astype(np.float32))


def prepare(checkout: Path) -> None:
    """Makes the published code importable without what only training needs."""
    sys.path.insert(0, str(checkout))
    absent: dict[str, dict[str, Any]] = {
        "kornia": {}, "kornia.filters": {"laplacian": None}, "dataset": {"class_labels_TR_sorted": []}
    }  # fmt: skip
    for name, content in absent.items():
        module = ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module


def network(backbone: str, channels: int, shape: dict[str, Any] | None = None) -> torch.nn.Module:
    """The published network; ``channels``: of the backbone's smallest map; ``shape`` replaces the backbone's."""
    import config  # type: ignore[import-not-found] # noqa: PLC0415
    from models.backbones import build_backbone, swin_v1  # type: ignore[import-not-found] # noqa: PLC0415

    plain = config.Config.__init__

    def chosen(self: Any) -> None:
        plain(self)
        self.bb = backbone
        self.lateral_channels_in_collection = [2 * channels // 2**i for i in range(4)]
        self.cxt = self.lateral_channels_in_collection[1:][::-1]

    config.Config.__init__ = chosen
    if shape is not None:
        setattr(build_backbone, backbone, lambda: swin_v1.SwinTransformer(**shape))
    from models.birefnet import BiRefNet  # type: ignore[import-not-found] # noqa: PLC0415

    try:
        return BiRefNet(bb_pretrained=False)  # type: ignore[no-any-return]
    finally:
        config.Config.__init__ = plain


def main(checkout: Path, out: Path) -> None:
    prepare(checkout)
    tensors = {}
    for backbone, channels in PUBLISHED.items():
        with torch.device("meta"):
            state = network(backbone, channels).state_dict()
        tensors[backbone] = {name: list(tensor.shape) for name, tensor in state.items()}
    (out / "birefnet_tensors.json").write_text(json.dumps(tensors, separators=(",", ":")) + "\n")
    small = network("swin_v1_t", 8 * SMALL["embed_dim"], SMALL).eval()
    small.load_state_dict(filled(small.state_dict()))
    with torch.inference_mode():
        logits = small(picture())[-1].numpy()
    np.savez_compressed(out / "birefnet_logits.npz", logits=logits)
    print(f"logits {logits.shape}: mean {logits.mean():.4f}, deviation {logits.std():.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
