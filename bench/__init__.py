"""Benchmarks: the overhead of Matte over the bare model, the accuracy of ETAs, and the fault drill."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
