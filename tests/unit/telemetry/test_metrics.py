"""The names keep Prometheus' conventions."""

from __future__ import annotations

import re

import matte_frontend.metrics as frontend
import matte_inference.metrics as inference
import matte_operator.metrics as operator
import pytest
from matte_inference.metrics import INFERENCE
from matte_telemetry.metrics import Metric
from metrics import ALL

UNITS = ("seconds", "bytes", "percent", "megapixel", "size")
#: never labels: there are as many as there are callers, pictures or processes
FORBIDDEN = {"tenant", "id", "job", "job_id", "path", "url", "user", "pod", "replica", "request_id", "trace_id"}


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_name_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"matte(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert bool(metric.buckets) == (metric.type == "histogram")
    assert metric.type != "histogram" or metric.name.endswith(UNITS)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")
    assert not set(metric.labels) & FORBIDDEN
    assert metric.exported == ("ray_" if metric in INFERENCE else "") + metric.name


def test_names_are_different() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)
    declared = [v for module in (frontend, inference, operator) for v in vars(module).values() if isinstance(v, Metric)]
    assert set(declared) == set(ALL)
