"""The metrics of all programs."""

from __future__ import annotations

from matte_frontend.metrics import FRONTEND, STORE
from matte_inference.metrics import INFERENCE
from matte_operator.metrics import OPERATOR

ALL = FRONTEND + STORE + INFERENCE + OPERATOR
