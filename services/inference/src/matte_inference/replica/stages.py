"""What is done to one picture, apart from where it comes from and goes to. Every stage is synchronous and thread-safe;
the bench's bare loop calls the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matte_core.contracts.job import JobSpec
from matte_core.contracts.limits import Limits

from matte_inference.families.base import Segmenter
from matte_inference.pixels.compose import compose
from matte_inference.pixels.decode import Pixels, decode
from matte_inference.pixels.encode import encode, preview
