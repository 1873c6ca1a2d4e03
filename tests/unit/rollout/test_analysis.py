from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from matte_core.contracts.k8s.rollout import MetricVerdict, RolloutAnalysis, RolloutSpec, Verdict
from matte_core.domain.statistics import wilson_bounds
from matte_operator.domain.rollout.analysis import (
    combine_verdicts,
    increase,
    judge_golden,
    judge_metrics,
    mean_difference,
    mean_of,
    percentile,
    student_quantile,
)
from matte_operator.domain.rollout.observation import (
    AnswerStats,
    ExternalResult,
    Gate,
    GoldenAnswer,
    GoldenResults,
    Measurements,
)
from rollout_simulation import EMPTY, ERRORS, FEW, GOOD, NO_SUBJECTS, SAME, SHIFTED, SLOW, UNSURE

P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741
CALM = Measurements("t", GOOD, GOOD, (SAME,) * 60)


def verdicts(measured: Measurements | None, **fields: object) -> dict[str, Verdict]:
    spec = RolloutAnalysis.model_validate(fields)
    return {found.metric: found.verdict for found in judge_metrics(spec, measured)}


def test_as_good_as_stable_passes() -> None:
    assert verdicts(CALM) == dict.fromkeys(("errors", "masks", "foreground", "uncertainty", "latency", "agreement"), P)


@pytest.mark.parametrize(
    ("canary", "metric"),
    [(ERRORS, "errors"), (SLOW, "latency"), (EMPTY, "masks"), (NO_SUBJECTS, "foreground"), (UNSURE, "uncertainty")],
    ids=["errors", "slow", "empty", "no subjects", "unsure"],
)
def test_each_fault_fails_its_own_metric(canary: AnswerStats, metric: str) -> None:
    found = verdicts(replace(CALM, canary=canary))
    assert [name for name, verdict in found.items() if verdict is F] == [metric]


def test_shifted_masks_fail() -> None:
    assert verdicts(replace(CALM, pairs=(SAME,) * 40 + (SHIFTED,) * 20))["agreement"] is F


def test_a_fault_that_stable_has_too_is_no_failure() -> None:
    for answers in (ERRORS, SLOW, EMPTY, NO_SUBJECTS, UNSURE):
        found = verdicts(replace(CALM, canary=answers, stable=answers))
        assert F not in found.values()


def test_no_data_and_few_data_are_inconclusive() -> None:
    assert set(verdicts(None).values()) == {I}
    assert set(verdicts(Measurements("t", GOOD, FEW)).values()) == {I}
    assert verdicts(Measurements("t", FEW, ERRORS))["errors"] is I


def test_between_pass_and_fail_is_inconclusive() -> None:
    one = AnswerStats(100, 1, 0, GOOD.seconds[:100])
    assert verdicts(replace(CALM, canary=one))["errors"] is I
    none = replace(GOOD, total=100, no_subjects=2)
    assert verdicts(replace(CALM, canary=none))["foreground"] is I
    unsure = replace(GOOD, uncertainties=tuple(0.05 + u for u in GOOD.uncertainties))
    assert verdicts(replace(CALM, canary=unsure))["uncertainty"] is I


def test_uncertainty_is_compared_on_the_same_pictures_if_there_are_enough() -> None:
    """Pictures differ more than versions do: on pairs, what answers leave open is decided."""
    pairs = tuple((0.005 * (i % 3) + 0.06 + u, u) for i, u in enumerate(GOOD.uncertainties[:30]))
    better = tuple((stable, canary) for canary, stable in pairs)
    open_ = replace(CALM, canary=replace(GOOD, uncertainties=tuple(0.05 + u for u in GOOD.uncertainties)))
    assert verdicts(open_)["uncertainty"] is I
    assert verdicts(replace(open_, uncertainty_pairs=pairs))["uncertainty"] is F
    assert verdicts(replace(open_, uncertainty_pairs=better))["uncertainty"] is P
    assert verdicts(replace(open_, uncertainty_pairs=pairs[:29]))["uncertainty"] is I
    found = judge_metrics(RolloutAnalysis(), replace(CALM, uncertainty_pairs=pairs))
    (judged,) = [each for each in found if each.metric == "uncertainty"]
    assert judged.value is not None
    assert judged.stable is not None
    assert judged.samples == 30
    assert judged.value - judged.stable == pytest.approx(0.065)
    assert "30 mirrored jobs" in judged.message


def test_answers_that_recorded_no_uncertainty_are_no_samples() -> None:
    assert verdicts(replace(CALM, canary=replace(GOOD, uncertainties=())))["uncertainty"] is I
    assert verdicts(replace(CALM, canary=replace(UNSURE, uncertainties=UNSURE.uncertainties[:29])))["uncertainty"] is I


def test_two_equal_versions_seldom_fail_however_often_they_are_compared() -> None:
    """Of real pictures, most masks are certain and a few are not."""
    draw, failed = random.Random(12), 0
    for _ in range(200):
        new, old = ([draw.betavariate(0.5, 6) for _ in range(600)] for _ in range(2))
        for n in range(30, 600, 30):
            stable, canary = (AnswerStats(uncertainties=tuple(found[:n])) for found in (old, new))
            if verdicts(Measurements("t", stable, canary))["uncertainty"] is F:
                failed += 1
                break
    assert failed <= 10


def test_not_a_number_disagrees() -> None:
    odd = SAME.model_copy(update={"iou": math.nan})
    assert verdicts(replace(CALM, pairs=(odd,) * 60))["agreement"] is F


def test_skipped_metrics_are_not_judged() -> None:
    assert list(verdicts(CALM, skip=["errors", "latency"])) == ["masks", "foreground", "uncertainty", "agreement"]
    assert list(verdicts(CALM, skip=["foreground", "uncertainty"])) == ["errors", "masks", "latency", "agreement"]
    assert "agreement" not in verdicts(CALM, agreement={"mirrorPercent": 0})


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, P), (1.5, F), (-1.0, F), (None, I), (math.nan, I), (math.inf, I)]
)
def test_queries(value: float | None, expected: Verdict) -> None:
    queries = [{"name": "mine", "query": "up", "min": 0, "max": 1}]
    assert verdicts(replace(CALM, external={"mine": ExternalResult(value)}), queries=queries)["mine"] is expected
    assert verdicts(CALM, queries=queries)["mine"] is I


def test_webhooks() -> None:
    hooks = [{"name": "judge", "url": "https://judge.example/v"}]
    assert verdicts(CALM, webhooks=hooks)["judge"] is I
    for verdict in Verdict:
        seen = replace(CALM, external={"judge": ExternalResult(verdict=verdict)})
        assert verdicts(seen, webhooks=hooks)["judge"] is verdict


@pytest.mark.parametrize(
    ("parts", "expected"), [((), I), ((P, P), P), ((P, I), I), ((P, I, F), F)], ids=["none", "pass", "unsure", "fail"]
)
def test_combined(parts: tuple[Verdict, ...], expected: Verdict) -> None:
    assert combine_verdicts(MetricVerdict(metric="m", verdict=part) for part in parts) is expected


def test_golden_images() -> None:
    spec = RolloutSpec()
    good, shifted = GoldenAnswer("a", agreement=SAME), GoldenAnswer("b", agreement=SHIFTED)
    first = GoldenAnswer("c")
    broken, bad = GoldenAnswer("d", error="out of memory"), GoldenAnswer("e", bad_mask="empty mask")
    gates = {
        (): Gate.WAITING,
        (good,): Gate.WAITING,
        (good, first): Gate.PASSED,
        (good, shifted): Gate.FAILED,
        (broken,): Gate.FAILED,
        (bad,): Gate.FAILED,
    }
    assert {answers: judge_golden(spec, GoldenResults(2, answers)).gate for answers in gates} == gates
    assert judge_golden(spec, GoldenResults()).gate is Gate.WAITING
    lenient = RolloutSpec.model_validate({"golden": {"maxDisagreements": 1}})
    assert judge_golden(lenient, GoldenResults(2, (good, shifted))).gate is Gate.PASSED


def test_wilson_against_published_values() -> None:
    """Newcombe 1998a, table I, method 3: 81 of 263, 15 of 148, 0 of 20; two-sided 95 % is one-sided 97.5 %."""
    for hits, total, lower, upper in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        found = wilson_bounds(hits, total, 0.975)
        assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=5e-5)


def test_newcombe_against_published_values() -> None:
    """Newcombe 1998b, table II, method 10: 56/70 - 48/80 and 9/10 - 3/10."""
    for new, old, lower, upper in [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)]:
        found = increase(wilson_bounds(*new, 0.975), wilson_bounds(*old, 0.975))
        assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=5e-5)


def test_student_against_published_values() -> None:
    """Fisher and Yates, table III: one-sided 95 % and 99.5 %."""
    for freedom, at_95, at_995 in [(10, 1.812, 3.169), (29, 1.699, 2.756), (60, 1.671, 2.660), (1e9, 1.645, 2.576)]:
        assert student_quantile(0.95, freedom) == pytest.approx(at_95, abs=1e-3)
        assert student_quantile(0.995, freedom) == pytest.approx(at_995, abs=3e-3)


def test_difference_of_means_by_hand() -> None:
    """Means 4 and 1, variances 10/3 and 2/3, of four samples each."""
    new, old = [2.0, 3.0, 5.0, 6.0], [0.0, 1.0, 1.0, 2.0]
    found = mean_difference(new, old, 0.95)
    error = math.sqrt((10 / 3 + 2 / 3) / 4)
    freedom = 1 / ((10 / 12) ** 2 / 3 + (2 / 12) ** 2 / 3)
    assert found.estimate == 3
    half = student_quantile(0.95, freedom) * error
    assert found.lower == pytest.approx(3 - half)
    assert found.upper == pytest.approx(3 + half)
    same = mean_difference([0.5] * 3, [0.25] * 3, 0.95)
    assert (same.estimate, same.lower, same.upper) == (0.25, 0.25, 0.25)
    paired = mean_of([1.0, 2.0, 3.0], 0.95)
    assert paired.upper - 2 == pytest.approx(student_quantile(0.95, 2) / math.sqrt(3))


def test_percentile_bounds_against_binomial_tables() -> None:
    """100 samples, median: the two-sided 95 % interval of the tables is ranks 40 to 61."""
    found = percentile([float(i) for i in range(1, 101)], 0.5, 0.975)
    assert (found.estimate, found.lower, found.upper) == (50, 40, 61)


def test_percentile_without_enough_samples_has_no_upper_bound() -> None:
    assert percentile([1.0] * 58, 0.95, 0.95).upper == math.inf
    assert percentile([1.0] * 59, 0.95, 0.95).upper == 1


def test_nothing_has_no_bounds() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.95, 0.95)
    with pytest.raises(ValueError, match="no share"):
        wilson_bounds(0, 0, 0.95)
