"""What a job costs, fitted to recent ones, and how long one still takes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median

#: megapixels that cost as much as the fixed part, where the samples cannot tell the two apart
_TYPICAL = 10.0
#: sizes that differ by less than this factor say nothing about the slope
_SPAN = 4.0
#: a job that runs longer than expected still takes this share of what was expected
_LEAST_LEFT = 0.1
#: pictures below this many megapixels cost what it does
MIN_MEGAPIXELS = 0.01
#: samples that a size needs before it says that small pictures are cheaper than the line
_SAMPLES = 3
#: bounds of ``Retry-After``, seconds
_RETRY_AFTER = (1.0, 60.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a job holds a slot.

    Attributes:
        fixed: for a picture of any size.
        per_megapixel: more for each megapixel.
        max_per_megapixel: upper bound on the total for each megapixel: a picture smaller than the network's input is
            cheaper than the other two say.
    """

    fixed: float
    per_megapixel: float
    max_per_megapixel: float = math.inf

    def seconds(self, megapixels: float) -> float:
        """Of a picture of that size."""
        linear = self.fixed + self.per_megapixel * megapixels
        return min(linear, self.max_per_megapixel * max(MIN_MEGAPIXELS, megapixels))


@dataclass(frozen=True, slots=True)
class _Size:
    """Samples of about one size: their medians, and how many there are."""

    megapixels: float
    seconds: float
    samples: int


def fit(samples: Iterable[tuple[float, float]]) -> Cost | None:
    """The cost that explains samples of (megapixels, seconds) best; None without any.

    Samples of about one size (a power of two) count by their medians, so neither a cold first job nor a flood of
    small pictures moves the rest. Through the medians goes the line with the least absolute error relative to each:
    being wrong by half counts the same for a thumbnail as for the largest picture. Neither part is negative. The two
    smallest sizes may say that small pictures are cheaper.
    """
    bins: dict[int, list[tuple[float, float]]] = {}
    for sample in samples:
        megapixels, seconds = max(MIN_MEGAPIXELS, sample[0]), max(1e-3, sample[1])
        bins.setdefault(math.floor(math.log2(megapixels)), []).append((megapixels, seconds))
    sizes = [
        _Size(median(m for m, _ in held), median(s for _, s in held), len(held)) for _, held in sorted(bins.items())
    ]
    if not sizes:
        return None
    if sizes[-1].megapixels < _SPAN * sizes[0].megapixels:
        fixed = _weighted_median([(s.seconds / (1 + s.megapixels / _TYPICAL), s.samples) for s in sizes])
        return Cost(fixed, fixed / _TYPICAL)
    small = [size.seconds / size.megapixels for size in sizes[:2] if size.samples >= _SAMPLES]
    costs = (replace(line, max_per_megapixel=cap) for line in _lines(sizes) for cap in (math.inf, *small))
    return min(costs, key=lambda cost: _error(cost, sizes))


def _lines(sizes: Sequence[_Size]) -> Iterable[Cost]:
    """One of these has the least error: lines through two of the points, or through one with a part that is 0."""
    for size in sizes:
        yield Cost(size.seconds, 0.0)
        yield Cost(0.0, size.seconds / size.megapixels)
    for one, other in combinations(sizes, 2):
        slope = (other.seconds - one.seconds) / (other.megapixels - one.megapixels)
        fixed = one.seconds - slope * one.megapixels
        if slope >= 0 and fixed >= 0:
            yield Cost(fixed, slope)


def _error(cost: Cost, sizes: Sequence[_Size]) -> float:
    return sum(s.samples * abs(cost.seconds(s.megapixels) / s.seconds - 1) for s in sizes)


def _weighted_median(values: Sequence[tuple[float, int]]) -> float:
    return median(value for value, weight in values for _ in range(weight))


def weighted_mean(costs: Iterable[tuple[Cost, float]]) -> Cost | None:
    """The mean of costs by their weights; None where nothing weighs."""
    held = [(cost, weight) for cost, weight in costs if weight > 0]
    total = sum(weight for _, weight in held)
    if not total:
        return None
    fixed, per_megapixel, max_per_megapixel = (
        sum(part * weight for part, (_, weight) in zip(parts, held, strict=True)) / total
        for parts in zip(*((cost.fixed, cost.per_megapixel, cost.max_per_megapixel) for cost, _ in held), strict=True)
    )
    return Cost(fixed, per_megapixel, max_per_megapixel)


@dataclass(frozen=True, slots=True)
class Queue:
    """What a queued job waits for.

    Attributes:
        running: (megapixels, seconds since it was taken) of each job that holds a slot.
        ahead: megapixels of the jobs before it, in their order, as far as they are known.
        further: how many more there are before it.
        mean: megapixels of a job in the queue.
    """

    running: Sequence[tuple[float, float]] = ()
    ahead: Sequence[float] = ()
    further: int = 0
    mean: float = 0.0


def seconds_left(cost: Cost, megapixels: float, elapsed: float) -> float:
    """Of a job that was taken ``elapsed`` seconds ago."""
    expected = cost.seconds(megapixels)
    return max(expected - elapsed, _LEAST_LEFT * expected)


def seconds_waiting(cost: Cost, queue: Queue, slots: int) -> float:
    """Until a queued job gets a slot: each slot takes the next job as soon as it is free.

    Args:
        cost: of a job in a slot, as busy as the slots are.
        queue: what is before it.
        slots: jobs that run at once over all live replicas; 0 counts as 1 (one will come).
    """
    free = [0.0] * max(1, slots)
    for megapixels, elapsed in queue.running:
        heapq.heapreplace(free, free[0] + seconds_left(cost, megapixels, elapsed))
    for megapixels in queue.ahead:
        heapq.heapreplace(free, free[0] + cost.seconds(megapixels))
    return free[0] + queue.further * cost.seconds(queue.mean) / len(free)


def retry_after(seconds: float | None) -> float:
    """When to ask again for something that takes that long; None: nobody knows."""
    least, most = _RETRY_AFTER
    return min(most, max(least, seconds or 0.0))
