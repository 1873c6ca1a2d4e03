"""Cost model of jobs, fitted to recent ones, and the ETAs that follow from it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import NamedTuple

#: megapixels that cost as much as the fixed part, where the samples cannot tell the two apart
_TYPICAL_MEGAPIXELS = 10.0
#: sizes that differ by less than this factor do not determine a slope
_MIN_SIZE_RATIO = 4.0
#: a job that runs longer than expected still takes this share of the expected time
_MIN_SHARE_LEFT = 0.1
#: smaller pictures cost as much as one of this size
MIN_MEGAPIXELS = 0.01
#: samples that a size needs before it can lower ``max_per_megapixel``
_MIN_SAMPLES = 3
RETRY_AFTER_MIN, RETRY_AFTER_MAX = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a job holds a slot: a fixed part, and one per megapixel. ``max_per_megapixel`` bounds the total: a
    picture smaller than the network's input is cheaper than the other two say.
    """

    fixed: float
    per_megapixel: float
    max_per_megapixel: float = math.inf

    def seconds(self, megapixels: float) -> float:
        linear = self.fixed + self.per_megapixel * megapixels
        return min(linear, self.max_per_megapixel * max(MIN_MEGAPIXELS, megapixels))


class _SizeBin(NamedTuple):
    """Samples of about one size: their medians, and how many there are."""

    megapixels: float
    seconds: float
    samples: int


def fit(samples: Iterable[tuple[float, float]]) -> Cost | None:
    """The cost that explains samples of (megapixels, seconds) best; None without samples.

    Samples are binned by size (powers of two) and each bin counts by its medians, so neither a cold first job nor a
    flood of small pictures moves the rest. The line through the medians minimizes the absolute error relative to each:
    being wrong by half counts the same for a thumbnail as for the largest picture. Neither part is negative. The two
    smallest bins may set ``max_per_megapixel``.
    """
    bins: dict[int, list[tuple[float, float]]] = {}
    for sample in samples:
        megapixels, seconds = max(MIN_MEGAPIXELS, sample[0]), max(1e-3, sample[1])
        bins.setdefault(math.floor(math.log2(megapixels)), []).append((megapixels, seconds))
    sizes = [
        _SizeBin(median(m for m, _ in members), median(s for _, s in members), len(members))
        for _, members in sorted(bins.items())
    ]
    if not sizes:
        return None
    if sizes[-1].megapixels < _MIN_SIZE_RATIO * sizes[0].megapixels:
        # one size only: split its time by the typical ratio; the median is weighted by the number of samples
        fixed = median(s.seconds / (1 + s.megapixels / _TYPICAL_MEGAPIXELS) for s in sizes for _ in range(s.samples))
        return Cost(fixed, fixed / _TYPICAL_MEGAPIXELS)

    # one of these lines has the least error: through two of the points, or through one with a part that is 0
    lines = [Cost(size.seconds, 0.0) for size in sizes]
    lines += [Cost(0.0, size.seconds / size.megapixels) for size in sizes]
    for a, b in combinations(sizes, 2):
        slope = (b.seconds - a.seconds) / (b.megapixels - a.megapixels)
        fixed = a.seconds - slope * a.megapixels
        if slope >= 0 and fixed >= 0:
            lines.append(Cost(fixed, slope))
    caps = [size.seconds / size.megapixels for size in sizes[:2] if size.samples >= _MIN_SAMPLES]
    return min(
        (replace(line, max_per_megapixel=cap) for line in lines for cap in (math.inf, *caps)),
        key=lambda cost: sum(s.samples * abs(cost.seconds(s.megapixels) / s.seconds - 1) for s in sizes),
    )


def weighted_mean(costs: Iterable[tuple[Cost, float]]) -> Cost | None:
    """The mean of (cost, weight) pairs; None if the weights are all 0."""
    weighted = [(cost, weight) for cost, weight in costs if weight > 0]
    total = sum(weight for _, weight in weighted)
    if not total:
        return None
    return Cost(
        sum(cost.fixed * weight for cost, weight in weighted) / total,
        sum(cost.per_megapixel * weight for cost, weight in weighted) / total,
        sum(cost.max_per_megapixel * weight for cost, weight in weighted) / total,
    )


@dataclass(frozen=True, slots=True)
class Queue:
    """What a queued job waits for.

    ``running``: (megapixels, seconds since its start) of each job in a slot; ``ahead``: megapixels of the jobs before
    it, in order, as far as they are known; ``further``: number of further ones; ``mean``: megapixels of the mean job.
    """

    running: Sequence[tuple[float, float]] = ()
    ahead: Sequence[float] = ()
    further: int = 0
    mean: float = 0.0


def seconds_left(cost: Cost, megapixels: float, elapsed: float) -> float:
    """Remaining seconds of a job that has been running for ``elapsed`` seconds."""
    expected = cost.seconds(megapixels)
    return max(expected - elapsed, _MIN_SHARE_LEFT * expected)


def seconds_waiting(cost: Cost, queue: Queue, slots: int) -> float:
    """Seconds until a queued job gets a slot, if each slot takes the next job as soon as it is free.

    ``slots``: concurrent jobs of all live replicas; 0 counts as 1 (a replica will come).
    """
    free = [0.0] * max(1, slots)
    for megapixels, elapsed in queue.running:
        heapq.heapreplace(free, free[0] + seconds_left(cost, megapixels, elapsed))
    for megapixels in queue.ahead:
        heapq.heapreplace(free, free[0] + cost.seconds(megapixels))
    return free[0] + queue.further * cost.seconds(queue.mean) / len(free)


def retry_after(seconds: float | None) -> float:
    """``Retry-After`` for something that takes this long; None: unknown."""
    return min(RETRY_AFTER_MAX, max(RETRY_AFTER_MIN, seconds or 0.0))
