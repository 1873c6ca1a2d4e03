"""Verdicts about a new version: of each metric, and of all together.

A metric fails where it is worse than allowed with the required confidence, passes where it is not worse than allowed
with that confidence, and is inconclusive in between: a non-inferiority test read from both sides. Checking again every
few seconds makes a false failure hardly more likely, because a version as good as stable is a whole margin away.
The bounds are computed without draws: a bootstrap would say something else after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist, fmean, variance
from typing import Any

from matte_core.contracts.evidence import Agreement
from matte_core.contracts.k8s.rollout import (
    TEXT_MAX,
    MetricVerdict,
    QueryCheck,
    RateCheck,
    RolloutAnalysis,
    RolloutSpec,
    Verdict,
)
from matte_core.domain.statistics import Bounds, wilson_bounds

from matte_operator.domain.rollout.observation import (
    AnswerStats,
    ExternalResult,
    Gate,
    GateResult,
    GoldenResults,
    Measurements,
)


def judge_metrics(spec: RolloutAnalysis, measured: Measurements | None) -> tuple[MetricVerdict, ...]:
    """Every metric's verdict; without measurements all are inconclusive."""
    measured = measured or Measurements("")
    canary, stable = measured.canary, measured.stable
    verdicts = []
    if "errors" not in spec.skip:
        rates = (canary.errors, canary.total), (stable.errors, stable.total)
        verdicts.append(_judge_rate("errors", spec, spec.error_rate, *rates))
    if "masks" not in spec.skip:
        rates = (canary.bad_masks, canary.total - canary.errors), (stable.bad_masks, stable.total - stable.errors)
        verdicts.append(_judge_rate("masks", spec, spec.bad_masks, *rates))
    if "foreground" not in spec.skip:
        rates = (canary.no_subjects, canary.total - canary.errors), (stable.no_subjects, stable.total - stable.errors)
        verdicts.append(_judge_rate("foreground", spec, spec.foreground, *rates))
    if "uncertainty" not in spec.skip:
        verdicts.append(_judge_uncertainty(spec, measured))
    if "latency" not in spec.skip:
        verdicts.append(_judge_latency(spec, canary, stable))
    if "agreement" not in spec.skip and spec.agreement.mirror_percent:
        verdicts.append(_judge_agreement(spec, measured.pairs))
    verdicts += [_judge_query(query, measured.external.get(query.name, ExternalResult())) for query in spec.queries]
    for webhook in spec.webhooks:
        result = measured.external.get(webhook.name, ExternalResult())
        default = "no answer" if result.verdict is None else ""
        verdict = result.verdict or Verdict.INCONCLUSIVE
        verdicts.append(_verdict(webhook.name, verdict, result.message or default))
    return tuple(verdicts)


def combine_verdicts(metrics: Iterable[MetricVerdict]) -> Verdict:
    """Fail if any metric fails, else inconclusive if any is or there is none, else pass."""
    verdicts = {metric.verdict for metric in metrics}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def judge_golden(spec: RolloutSpec, results: GoldenResults) -> GateResult:
    """Whether the golden images were answered, each with a mask, and as stable answers them."""
    failures = [text for answer in results.answers if (text := answer.error or answer.bad_mask)]
    if failures:
        return GateResult(Gate.FAILED, f"{len(failures)} of {results.total} golden images failed: {failures[0]}")
    compare = "agreement" not in spec.analysis.skip
    if compare:
        rejects = spec.analysis.agreement.rejects
        differing = [answer.name for answer in results.answers if answer.agreement and rejects(answer.agreement)]
        if len(differing) > spec.golden.max_disagreements:
            return GateResult(Gate.FAILED, f"masks of golden images differ from stable's: {', '.join(differing)}")
    if results.total == 0 or len(results.answers) < results.total:
        return GateResult(Gate.WAITING, f"{len(results.answers)} of {results.total} golden images answered")
    uncompared = [answer.name for answer in results.answers if answer.agreement is None]
    if compare and results.stable and uncompared:
        message = f"the masks of {results.stable} are missing, nothing to compare with for {', '.join(uncompared)}"
        return GateResult(Gate.WAITING, message)
    return GateResult(Gate.PASSED, f"{results.total} golden images answered")


def _too_few_samples(metric: str, spec: RolloutAnalysis, canary: int, stable: int) -> MetricVerdict | None:
    if min(canary, stable) >= spec.min_samples:
        return None
    message = f"too few samples: {canary} of the new version, {stable} of stable, {spec.min_samples} needed of each"
    return _verdict(metric, Verdict.INCONCLUSIVE, message, samples=canary)


def _judge_rate(
    metric: str, spec: RolloutAnalysis, check: RateCheck, canary: tuple[int, int], stable: tuple[int, int]
) -> MetricVerdict:
    """``canary`` and ``stable`` are hits and samples."""
    if too_few := _too_few_samples(metric, spec, canary[1], stable[1]):
        return too_few
    canary_share, stable_share = wilson_bounds(*canary, spec.confidence), wilson_bounds(*stable, spec.confidence)
    grown = increase(canary_share, stable_share)
    message = (
        f"{canary[0]} of {canary[1]} against {stable[0]} of {stable[1]}: {grown.estimate:+.2%}, between"
        f" {grown.lower:+.2%} and {grown.upper:+.2%}; {check.max_increase:+.2%} is allowed"
    )
    verdict = _compare(grown.lower, grown.upper, check.max_increase)
    value, old = canary_share.estimate, stable_share.estimate
    return _verdict(metric, verdict, message, samples=canary[1], value=value, stable=old)


def _judge_latency(spec: RolloutAnalysis, canary: AnswerStats, stable: AnswerStats) -> MetricVerdict:
    if too_few := _too_few_samples("latency", spec, len(canary.seconds), len(stable.seconds)):
        return too_few
    # two bounds must hold at once: each gets half of the permitted error
    confidence = 1 - (1 - spec.confidence) / 2
    new, old = (percentile(answers.seconds, 0.95, confidence) for answers in (canary, stable))
    ratio, slack = spec.latency.max_ratio, spec.latency.slack_seconds
    verdict = Verdict.PASS if new.upper <= old.lower * ratio + slack else Verdict.INCONCLUSIVE
    verdict = Verdict.FAIL if new.lower > old.upper * ratio + slack else verdict
    message = (
        f"p95 {new.estimate:.3g} s ({new.lower:.3g} to {new.upper:.3g}) against {old.estimate:.3g} s"
        f" ({old.lower:.3g} to {old.upper:.3g}); {ratio:g} times and {slack:g} s are allowed"
    )
    samples = len(canary.seconds)
    return _verdict("latency", verdict, message, samples=samples, value=new.estimate, stable=old.estimate)


def _judge_uncertainty(spec: RolloutAnalysis, measured: Measurements) -> MetricVerdict:
    """The same pictures seen by both versions tell more than different ones, so they are preferred."""
    pairs = measured.uncertainty_pairs
    if len(pairs) >= spec.min_samples:
        new, old = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        grown, what = mean_of([a - b for a, b in pairs], spec.confidence), "mirrored jobs"
    else:
        new, old = list(measured.canary.uncertainties), list(measured.stable.uncertainties)
        if too_few := _too_few_samples("uncertainty", spec, len(new), len(old)):
            return too_few
        grown, what = mean_difference(new, old, spec.confidence), "answers"
    value, stable = fmean(new), fmean(old)
    limit = spec.uncertainty.max_increase
    message = (
        f"mean {value:.3f} against {stable:.3f} in {len(new)} {what}: {grown.estimate:+.3f}, between"
        f" {grown.lower:+.3f} and {grown.upper:+.3f}; {limit:+.3f} is allowed"
    )
    verdict = _compare(grown.lower, grown.upper, limit)
    return _verdict("uncertainty", verdict, message, samples=len(new), value=value, stable=stable)


def _judge_agreement(spec: RolloutAnalysis, pairs: tuple[Agreement, ...]) -> MetricVerdict:
    if too_few := _too_few_samples("agreement", spec, len(pairs), len(pairs)):
        return too_few
    check = spec.agreement
    differing = sum(check.rejects(pair) for pair in pairs)
    bounds = wilson_bounds(differing, len(pairs), spec.confidence)
    message = (
        f"{differing} of {len(pairs)} masks differ from stable's, between {bounds.lower:.1%} and {bounds.upper:.1%};"
        f" {check.max_disagreement:.1%} may; mean IoU {sum(pair.iou for pair in pairs) / len(pairs):.3f}"
    )
    verdict = _compare(bounds.lower, bounds.upper, check.max_disagreement)
    return _verdict("agreement", verdict, message, samples=len(pairs), value=bounds.estimate)


def _judge_query(check: QueryCheck, result: ExternalResult) -> MetricVerdict:
    value = result.value
    if value is None or not math.isfinite(value):
        return _verdict(check.name, Verdict.INCONCLUSIVE, result.message or "no data")
    low = "" if check.min is None else f"{check.min:g} ≤ "
    high = "" if check.max is None else f" ≤ {check.max:g}"
    failed = (check.min is not None and value < check.min) or (check.max is not None and value > check.max)
    verdict = Verdict.FAIL if failed else Verdict.PASS
    return _verdict(check.name, verdict, f"{value:g}; wanted {low}value{high}", value=value)


def _compare(lower: float, upper: float, limit: float) -> Verdict:
    if lower > limit:
        return Verdict.FAIL
    return Verdict.PASS if upper <= limit else Verdict.INCONCLUSIVE


def _verdict(metric: str, verdict: Verdict, message: str, **numbers: Any) -> MetricVerdict:
    return MetricVerdict(metric=metric, verdict=verdict, message=message[:TEXT_MAX], **numbers)


def increase(new: Bounds, old: Bounds) -> Bounds:
    """The difference of two independent shares: Newcombe's hybrid score bounds.

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998), pages 873-890, method 10.
    """
    difference = new.estimate - old.estimate
    below = math.hypot(new.estimate - new.lower, old.upper - old.estimate)
    above = math.hypot(new.upper - new.estimate, old.estimate - old.lower)
    return Bounds(difference, difference - below, difference + above)


def mean_of(samples: Sequence[float], confidence: float) -> Bounds:
    """A mean's one-sided bounds by Student's t. ValueError for fewer than two samples."""
    mean, error = fmean(samples), math.sqrt(variance(samples) / len(samples))
    half = student_quantile(confidence, len(samples) - 1) * error
    return Bounds(mean, mean - half, mean + half)


def mean_difference(new: Sequence[float], old: Sequence[float], confidence: float) -> Bounds:
    """The one-sided bounds of the difference of two independent means whose variances may differ.

    Source: B. L. Welch, Biometrika 34 (1947), pages 28-35. ValueError for fewer than two samples of either.
    """
    a, b = variance(new) / len(new), variance(old) / len(old)
    difference = fmean(new) - fmean(old)
    if a + b == 0:
        return Bounds(difference, difference, difference)
    freedom = (a + b) ** 2 / (a * a / (len(new) - 1) + b * b / (len(old) - 1))
    half = student_quantile(confidence, freedom) * math.sqrt(a + b)
    return Bounds(difference, difference - half, difference + half)


def student_quantile(confidence: float, freedom: float) -> float:
    """Of Student's t: the expansion of Abramowitz and Stegun, 26.7.5; within 0.1 % from 10 degrees of freedom."""
    z = NormalDist().inv_cdf(confidence)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def percentile(samples: Sequence[float], q: float, confidence: float) -> Bounds:
    """A percentile's one-sided bounds by order statistics, whatever the distribution; ``ValueError`` without samples.

    Source: Hahn and Meeker, Statistical Intervals (1991), section 5.2. The upper bound is infinite where there are
    too few samples for one, the lower bound then is 0.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    n = len(ordered)
    lower, upper, below = 0.0, math.inf, 0.0
    for rank, sample in enumerate(ordered, start=1):
        below += _binomial(n, rank - 1, q)  # P(fewer than `rank` samples lie below the percentile)
        if below <= 1 - confidence:
            lower = sample
        if below >= confidence:
            upper = sample
            break
    return Bounds(ordered[min(n - 1, math.ceil(q * n) - 1)], lower, upper)


def _binomial(n: int, k: int, p: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))
