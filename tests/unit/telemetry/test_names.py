"""The names keep Prometheus' conventions."""

from __future__ import annotations

import re

import pytest
from matte_telemetry import names
from matte_telemetry.names import Kind, Metric

UNITS = ("seconds", "bytes", "percent", "megapixel", "size")
#: never labels: there are as many as there are callers, pictures or processes
FORBIDDEN = {"tenant", "id", "job", "job_id", "path", "url", "user", "pod", "replica", "request_id", "trace_id"}


@pytest.mark.parametrize("metric", names.ALL, ids=lambda metric: metric.name)
def test_a_name_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"matte(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert metric.kind is not Kind.HISTOGRAM or metric.name.endswith(UNITS)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")
    assert not set(metric.labels) & FORBIDDEN
    assert metric.exported == ("ray_" if metric in names.INFERENCE else "") + metric.name


def test_names_are_different() -> None:
    assert len({metric.name for metric in names.ALL}) == len(names.ALL)
    listed = [value for value in vars(names).values() if isinstance(value, Metric)]
    assert set(listed) == set(names.ALL)
