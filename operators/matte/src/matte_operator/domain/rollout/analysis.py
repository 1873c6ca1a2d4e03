"""Verdicts: each metric's, and the one of all of them.

A metric fails where it is worse than allowed with the confidence asked for, passes where it is not worse than allowed
with that confidence, and is inconclusive in between: a non-inferiority test read from both sides. Looking again every
few seconds makes a false failure hardly more likely, because a version as good as stable lies a whole margin away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from matte_core.contracts.evidence import Agreement
from matte_core.contracts.k8s.rollout import (
    TEXT_MAX,
    AgreementCheck,
    MetricVerdict,
    QueryCheck,
    RateCheck,
    RolloutAnalysis,
    RolloutSpec,
    Verdict,
)
from matte_core.domain.statistics import wilson_bounds

from matte_operator.domain.rollout.observe import (
    Answers,
    ExternalSeen,
    Gate,
    GateSeen,
    GoldenAnswer,
    GoldenSeen,
    Measured,
)
from matte_operator.domain.rollout.stats import increase, percentile


def judge(spec: RolloutAnalysis, measured: Measured | None) -> tuple[MetricVerdict, ...]:
    """Every metric's verdict; without data all are inconclusive."""
    seen = measured or Measured("")
    return tuple(_verdicts(spec, seen))


def combined(verdicts: Iterable[MetricVerdict]) -> Verdict:
    """One failure fails all; else one inconclusive makes all so; nothing judged is inconclusive."""
    found = {verdict.verdict for verdict in verdicts}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in found:
            return verdict
    return Verdict.PASS if found else Verdict.INCONCLUSIVE


def judge_golden(spec: RolloutSpec, seen: GoldenSeen) -> GateSeen:
    """Whether the golden images were answered, each with a mask, and as stable answers them."""
    wrong = [text for answer in seen.answers if (text := answer.error or answer.bad_mask)]
    if wrong:
        return GateSeen(Gate.FAILED, f"{len(wrong)} of {seen.total} golden images failed: {wrong[0]}")
    compared = "agreement" not in spec.analysis.skip
    differ = [] if not compared else _differing(spec.analysis.agreement, seen.answers)
    if len(differ) > spec.golden.max_disagreements:
        return GateSeen(Gate.FAILED, f"masks of golden images differ from stable's: {', '.join(differ)}")
    if seen.total == 0 or len(seen.answers) < seen.total:
        return GateSeen(Gate.WAITING, f"{len(seen.answers)} of {seen.total} golden images answered")
    alone = [answer.name for answer in seen.answers if answer.agreement is None]
    if compared and seen.against and alone:
        text = f"the masks of {seen.against} are missing, nothing to compare with for {', '.join(alone)}"
        return GateSeen(Gate.WAITING, text)
    return GateSeen(Gate.PASSED, f"{seen.total} golden images answered")


def _differing(spec: AgreementCheck, answers: Iterable[GoldenAnswer]) -> list[str]:
    return [answer.name for answer in answers if answer.agreement and spec.rejects(answer.agreement)]


def _verdicts(spec: RolloutAnalysis, seen: Measured) -> Iterator[MetricVerdict]:
    if "errors" not in spec.skip:
        new, old = seen.canary, seen.stable
        yield _rate("errors", spec, spec.error_rate, (new.errors, new.total), (old.errors, old.total))
    if "masks" not in spec.skip:
        new, old = seen.canary, seen.stable
        pairs = (new.bad_masks, new.total - new.errors), (old.bad_masks, old.total - old.errors)
        yield _rate("masks", spec, spec.bad_masks, *pairs)
    if "latency" not in spec.skip:
        yield _latency(spec, seen.canary, seen.stable)
    if "agreement" not in spec.skip and spec.agreement.mirror_percent:
        yield _agreement(spec, seen.pairs)
    for query in spec.queries:
        yield _query(query, seen.external.get(query.name))
    for hook in spec.webhooks:
        yield _webhook(hook.name, seen.external.get(hook.name))


def _few(metric: str, spec: RolloutAnalysis, new: int, old: int) -> MetricVerdict | None:
    if min(new, old) >= spec.min_samples:
        return None
    text = f"too few samples: {new} of the new version, {old} of stable, {spec.min_samples} needed of each"
    return _verdict(metric, Verdict.INCONCLUSIVE, text, samples=new)


def _rate(
    metric: str, spec: RolloutAnalysis, check: RateCheck, new: tuple[int, int], old: tuple[int, int]
) -> MetricVerdict:
    if few := _few(metric, spec, new[1], old[1]):
        return few
    ours, theirs = wilson_bounds(*new, spec.confidence), wilson_bounds(*old, spec.confidence)
    grown = increase(ours, theirs)
    text = (
        f"{new[0]} of {new[1]} against {old[0]} of {old[1]}: {grown.estimate:+.2%}, between {grown.lower:+.2%} and"
        f" {grown.upper:+.2%}; {check.max_increase:+.2%} is allowed"
    )
    verdict = _side(grown.lower, grown.upper, check.max_increase)
    return _verdict(metric, verdict, text, samples=new[1], value=ours.estimate, stable=theirs.estimate)


def _latency(spec: RolloutAnalysis, new: Answers, old: Answers) -> MetricVerdict:
    if few := _few("latency", spec, len(new.seconds), len(old.seconds)):
        return few
    # two bounds must hold at once: each has half of the doubt
    confidence = 1 - (1 - spec.confidence) / 2
    ours, theirs = (percentile(answers.seconds, 0.95, confidence) for answers in (new, old))
    ratio, slack = spec.latency.max_ratio, spec.latency.slack_seconds
    if ours.lower > theirs.upper * ratio + slack:
        verdict = Verdict.FAIL
    elif ours.upper <= theirs.lower * ratio + slack:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    text = (
        f"p95 {ours.estimate:.3g} s ({ours.lower:.3g} to {ours.upper:.3g}) against {theirs.estimate:.3g} s"
        f" ({theirs.lower:.3g} to {theirs.upper:.3g}); {ratio:g} times and {slack:g} s are allowed"
    )
    numbers = {"value": ours.estimate, "stable": theirs.estimate}
    return _verdict("latency", verdict, text, samples=len(new.seconds), **numbers)


def _agreement(spec: RolloutAnalysis, pairs: tuple[Agreement, ...]) -> MetricVerdict:
    if few := _few("agreement", spec, len(pairs), len(pairs)):
        return few
    check = spec.agreement
    differ = sum(check.rejects(pair) for pair in pairs)
    found = wilson_bounds(differ, len(pairs), spec.confidence)
    text = (
        f"{differ} of {len(pairs)} masks differ from stable's, between {found.lower:.1%} and {found.upper:.1%};"
        f" {check.max_disagreement:.1%} may; mean IoU {sum(pair.iou for pair in pairs) / len(pairs):.3f}"
    )
    verdict = _side(found.lower, found.upper, check.max_disagreement)
    return _verdict("agreement", verdict, text, samples=len(pairs), value=found.estimate)


def _query(check: QueryCheck, seen: ExternalSeen | None) -> MetricVerdict:
    if seen is None or seen.value is None or not math.isfinite(seen.value):
        return _verdict(check.name, Verdict.INCONCLUSIVE, seen.message if seen and seen.message else "no data")
    below = check.min is not None and seen.value < check.min
    above = check.max is not None and seen.value > check.max
    limits = (
        f"{'' if check.min is None else f'{check.min:g} ≤ '}value{'' if check.max is None else f' ≤ {check.max:g}'}"
    )
    verdict = Verdict.FAIL if below or above else Verdict.PASS
    return _verdict(check.name, verdict, f"{seen.value:g}; wanted {limits}", value=seen.value)


def _webhook(name: str, seen: ExternalSeen | None) -> MetricVerdict:
    if seen is None or seen.verdict is None:
        return _verdict(name, Verdict.INCONCLUSIVE, seen.message if seen and seen.message else "no answer")
    return _verdict(name, seen.verdict, seen.message)


def _side(lower: float, upper: float, limit: float) -> Verdict:
    if lower > limit:
        return Verdict.FAIL
    return Verdict.PASS if upper <= limit else Verdict.INCONCLUSIVE


def _verdict(
    metric: str,
    verdict: Verdict,
    message: str,
    samples: int = 0,
    value: float | None = None,
    stable: float | None = None,
) -> MetricVerdict:
    return MetricVerdict(
        metric=metric, verdict=verdict, value=value, stable=stable, samples=samples, message=message[:TEXT_MAX]
    )
