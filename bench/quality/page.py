"""``bench/quality.md``: a page of sections, each written by the run that measures it, while the others stay."""

from __future__ import annotations

import datetime
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.quality.metrics import Scores

PAGE = Path(__file__).parents[1] / "quality.md"
SECTIONS = ("models", "parity", "peers")
_INTRODUCTION = """# Quality

How good the answers of the local models are, and how Matte compares with [rembg](https://github.com/danielgatis/rembg)
on the same ONNX file. `make bench-quality` measures the first two sections, `make bench-peers` the third.
"""


def write_section(page: Path, name: str, text: str) -> None:
    """Replaces one section of the page, and makes the page if there is none."""
    old = page.read_text() if page.exists() else ""
    found = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", old, re.DOTALL))
    found[name] = text.strip()
    parts = [f"<!-- {each} -->\n{found[each]}\n<!-- end -->" for each in SECTIONS if each in found]
    page.write_text("\n\n".join([_INTRODUCTION.strip(), *parts]) + "\n")


def conditions(*versions: str) -> str:
    """When, where and with what something was measured."""
    command = ["git", "-C", str(PAGE.parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    load = f"load average before {os.getloadavg()[0]:.1f}"
    machine = f"{os.cpu_count()} cores, {load}, {platform.machine()}, Python {platform.python_version()}"
    return ", ".join((today, machine, *versions, f"commit {commit}")) + "."


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """``scores`` by the name of a composite; ``peak`` in bytes; ``failure``: why nothing was measured."""

    name: str
    scores: Mapping[str, Scores]
    seconds: float = math.nan
    peak: int = 0
    failure: str = ""


def models_section(figures: Sequence[ModelFigures], kinds: Mapping[str, str], how: str, sources: Sequence[str]) -> str:
    """``kinds``: the kind of each composite by its name; ``sources``: lines about the photographs."""
    lines = [
        f"""## Models on composites with known alpha

{how}

{len(kinds)} pictures of 1.1 to 1.7 megapixels: a photograph's colors in a drawn matte (hair, fur, motion blur, a veil,
holes, thin stems), over another photograph. They are made from seeds, and no model was trained on them. Every model
runs alone in its own process, with all cores, from PNG to PNG through the stages of a replica with default options.

| model | IoU ↑ | boundary F ↑ | MAE ↓ | SAD ↓ | color error ↓ | seconds | peak memory |
|---|---|---|---|---|---|---|---|"""
    ]
    measured = [each for each in figures if each.scores]
    for each in measured:
        mean = Scores.mean(list(each.scores.values()))
        lines.append(
            f"| {each.name} | {mean.iou:.3f} | {mean.boundary:.3f} | {mean.mae:.4f} | {mean.sad:.1f} "
            f"| {_number(mean.color, 1)} | {each.seconds:.2f} | {each.peak / 1e6:.0f} MB |"
        )
    lines.append("""
Means over the pictures; seconds: the median. IoU and boundary F are of the masks at half alpha, as rollouts compare
them; MAE is of the alphas, 0 … 1; SAD their summed difference in thousands of pixels; color error the difference of the
cut-out's colors to the subject's own at soft edges, 0 … 255, with pixels weighted by the smaller alpha. Memory is that
of the whole process, Python and libraries included.

### By kind
""")
    order = list(dict.fromkeys(kinds.values()))
    lines += [f"| IoU, MAE | {' | '.join(order)} |", "|---" * (len(order) + 1) + "|"]
    for each in measured:
        cells = []
        for kind in order:
            mean = Scores.mean([scores for name, scores in each.scores.items() if kinds[name] == kind])
            cells.append(f"{mean.iou:.3f}, {mean.mae:.4f}")
        lines.append(f"| {each.name} | {' | '.join(cells)} |")
    if failed := [each for each in figures if each.failure]:
        lines += ["\nNot measured:\n", *(f"- {each.name}: {each.failure}" for each in failed)]
    lines += ["\n### Photographs\n", *sources]
    return "\n".join(lines)


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
