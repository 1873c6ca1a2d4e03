"""How far a job is: by stages and time."""

from __future__ import annotations

import pytest
from matte_inference.replica.job_trace import STAGES, StageCosts, progress

EXPECTED = (0.0, 1.0, 6.0, 2.0, 1.0)


def test_progress_is_by_stages_and_by_time_within_one() -> None:
    assert progress(EXPECTED, [0.0, 0.0], 0.5) == ("decode", 0.05)
    assert progress(EXPECTED, [0.0, 0.0, 1.0], 4.0) == ("forward", 0.4)
    assert progress(EXPECTED, [0.0, 0.0, 1.0, 2.0], 2.0) == ("encode", 0.7)  # faster than expected


def test_a_stage_that_takes_too_long_waits_below_its_end_and_a_job_below_1() -> None:
    stage, share = progress(EXPECTED, [0.0, 0.0, 1.0], 1000.0)
    assert stage == "forward"
    assert share == pytest.approx(0.67)
    assert progress((0.0, 0.0, 0.0, 0.0, 1.0), [0.0] * 5, 1000.0) == ("store", 0.95)
    assert progress(EXPECTED, [0.0] * 6, 1000.0)[1] <= 0.99


def test_progress_never_falls() -> None:
    marks, fractions = [0.0], [0.0]
    for step in range(300):
        now = step / 10
        if step in {3, 30, 40, 200}:
            marks.append(now)
        fractions.append(progress(EXPECTED, marks, now)[1])
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1


def test_what_is_expected_follows_recent_jobs() -> None:
    costs = StageCosts()
    assert len(costs.expected(1.0)) == len(STAGES)
    for _ in range(5):
        for size in (0.1, 36.0):
            seconds = (0.01, 0.1 * size, 2.0, 0.05 * size, 0.01)
            costs.add(size, [100.0 + sum(seconds[:n]) for n in range(6)])
    assert costs.expected(36.0) == pytest.approx((0.01, 3.6, 2.0, 1.8, 0.01), rel=0.01)
    assert costs.expected(10.0) == pytest.approx((0.01, 1.0, 2.0, 0.5, 0.01), rel=0.01)
