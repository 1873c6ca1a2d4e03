"""Trains the versions of the bundled U-Net and writes their folders: weights, matte.yaml, MODEL_CARD.md.

Usage: python scripts/train_unet.py [1.0.0] [2.0.0]      (one thread, about 5 and 12 minutes)

Everything comes from seeds: the same CPU type and torch version give the same weights.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import yaml
from matte_inference.families.unet_net import UNet
from safetensors.torch import load_file, save_file
from synth import sample
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).parents[1] / "services/inference/src/matte_inference/models"
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
HELD_OUT_SEED, HELD_OUT, SIZE = 1_000_000_000, 200, 256


class Phase(NamedTuple):
    """Training at one resolution on ``pool`` pictures, which are reused with augmentation."""

    size: int
    steps: int
    batch: int
    pool: int
    rate: float


class Plan(NamedTuple):
    """``average``: decay of the weights' moving average."""

    seed: int
    phases: tuple[Phase, ...]
    average: float


PLANS = {
    "1.0.0": Plan(1, (Phase(128, 450, 12, 2000, 3e-3), Phase(256, 60, 6, 240, 1e-3)), 0.97),
    "2.0.0": Plan(2, (Phase(128, 1500, 12, 5000, 3e-3), Phase(256, 180, 6, 700, 1e-3)), 0.98),
}


def normalized(pictures: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to the network's float (N, 3, H, W)."""
    scaled = (pictures.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return scaled.permute(0, 3, 1, 2)


def batches(seed: int, phase: Phase) -> Iterator[tuple[Tensor, Tensor]]:
    """Random batches with augmentation: mirrored, and with permuted color channels."""
    rng = np.random.default_rng(seed)
    pairs = [sample(seed * 10_000_000 + index, phase.size) for index in range(phase.pool)]
    pictures, alphas = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
    for _ in range(phase.steps):
        rows = torch.from_numpy(rng.integers(0, phase.pool, phase.batch))
        x, y = pictures[rows][..., torch.from_numpy(rng.permutation(3))], alphas[rows]
        if rng.random() < 0.5:
            x, y = x.flip(2), y.flip(2)
        yield normalized(x), y[:, None].float() / 255


def train(plan: Plan) -> UNet:
    """The network with averaged weights."""
    torch.manual_seed(plan.seed)
    model = UNet().to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(model)
    for number, phase in enumerate(plan.phases):
        optimizer = torch.optim.AdamW(model.parameters(), lr=phase.rate, weight_decay=1e-4)
        for step, (x, y) in enumerate(batches(plan.seed * 10 + number, phase)):
            warm = min(1.0, (step + 1) / 30)
            optimizer.param_groups[0]["lr"] = phase.rate * warm * (0.52 + 0.48 * math.cos(math.pi * step / phase.steps))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(x.contiguous(memory_format=torch.channels_last))
            # cross entropy + soft IoU + mean absolute difference
            guess = logits.float().sigmoid()
            both, either = (guess * y).sum((1, 2, 3)), (guess + y - guess * y).sum((1, 2, 3))
            entropy = functional.binary_cross_entropy_with_logits(logits.float(), y)
            loss = entropy + (1 - (both + 1) / (either + 1)).mean() + (guess - y).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                for averaged, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                    averaged.lerp_(new, 1 - plan.average) if averaged.is_floating_point() else averaged.copy_(new)
            if step % 25 == 0:
                print(f"{phase.size} px, step {step}/{phase.steps}, loss {loss.item():.3f}", flush=True)
    return average.eval()


def evaluate(weights: Path) -> tuple[float, float]:
    """Mean IoU (alpha cut at one half) and mean absolute error of saved weights on unseen pictures."""
    model = UNet()
    model.load_state_dict(load_file(weights))
    model.eval()
    ious, errors = [], []
    for index in range(HELD_OUT):
        picture, alpha = sample(HELD_OUT_SEED + index, SIZE)
        with torch.inference_mode():
            guess = model(normalized(torch.from_numpy(picture)[None])).sigmoid()[0, 0].numpy()
        one, two = guess > 0.5, alpha > 127
        ious.append((one & two).sum() / max(1, (one | two).sum()))
        errors.append(np.abs(guess - alpha / 255).mean())
    return float(np.mean(ious)), float(np.mean(errors))


CARD = """# Matte U-Net {version}

Separates the main subject of a picture from its background: alpha at {size} × {size} px, resized to the picture.

| | |
|---|---|
| Architecture | U-Net, {parameters} parameters (`matte_inference.families.unet_net.UNet`) |
| Input | RGB, {size} × {size}, normalized with mean {mean} and deviation {std} |
| Weights | `model.safetensors`, half precision, {bytes} bytes |
| sha256 | `{sha256}` |
| Training | {training} |
| Held-out IoU | **{iou:.4f}** (mean of {held_out} synthesised pictures, alpha cut at ½) |
| Held-out mean absolute error | {mae:.4f} |
| License | Apache-2.0 |

Data: `scripts/synth.py` makes every picture from a seed: blobs, polygons, limbs, rings, busts and hair with textures
and light, before noise, gradients, stripes or clutter. No photograph and no person's picture was used. Held-out
pictures come from the same generator and seeds that training never sees, so the figure compares versions; it does
not say how good the network is on photographs: there it finds plain subjects before calm backgrounds (the flower of
scikit-learn) and fails on others (scikit-image's astronaut, coffee and chelsea). For photographs use grabcut or a
transformers model.

Made by `python scripts/train_unet.py {version}`.
"""


def write(version: str, model: UNet, plan: Plan) -> None:
    folder = ROOT / f"unet-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "model.safetensors"
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, weights)
    weights.chmod(0o644)  # safetensors makes it readable by its owner only
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    iou, mae = evaluate(weights)
    metadata = {
        "family": "unet", "version": version, "license": "Apache-2.0", "size": SIZE,
        "mean": list(MEAN), "std": list(STD), "weights": {"model.safetensors": f"sha256:{digest}"},
    }  # fmt: skip
    (folder / "matte.yaml").write_text(yaml.safe_dump(metadata, sort_keys=False))
    training = "; ".join(f"{p.steps} steps of {p.batch} at {p.size} px from {p.pool} pictures" for p in plan.phases)
    count = sum(p.numel() for p in model.parameters())
    card = CARD.format(
        version=version, size=SIZE, parameters=count, mean=MEAN, std=STD, bytes=weights.stat().st_size,
        sha256=digest, training=f"{training}; AdamW, seed {plan.seed}, averaged weights", iou=iou, mae=mae,
        held_out=HELD_OUT,
    )  # fmt: skip
    (folder / "MODEL_CARD.md").write_text(card)
    print(f"unet {version}: held-out IoU {iou:.4f}, mean absolute error {mae:.4f}, sha256 {digest}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", help=f"of {', '.join(PLANS)}; all without")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for version in parser.parse_args().versions or PLANS:
        write(version, train(PLANS[version]), PLANS[version])


if __name__ == "__main__":
    main()
