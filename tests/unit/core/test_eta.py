"""ETAs on mixed loads, in a simulation of slots that a fitted cost is the only knowledge of."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from statistics import median, quantiles

import pytest
from matte_core.domain.eta import Cost, Queue, fit, retry_after, seconds_left, seconds_waiting, weighted_mean

#: samples that are kept of about one size
KEPT = 12


class Recent:
    """What a store keeps of the jobs that ended."""

    def __init__(self) -> None:
        self.bins: dict[int, deque[tuple[float, float]]] = {}

    def add(self, megapixels: float, seconds: float) -> None:
        self.bins.setdefault(math.floor(math.log2(megapixels)), deque(maxlen=KEPT)).append((megapixels, seconds))

    def cost(self) -> Cost | None:
        return fit(sample for held in self.bins.values() for sample in held)


def simulate(seed: int, *, slots: int, load: float, cost: Cost, jobs: int = 600) -> list[float]:
    """Ratios of the ETA at admission to the truth; sizes are log-uniform from 0.01 to 36 MP.

    A job takes what ``cost`` says, give or take a quarter; the first one is cold and takes ten times that.
    """
    draw = random.Random(seed)
    sizes = [math.exp(draw.uniform(math.log(0.01), math.log(36))) for _ in range(jobs)]
    took = [cost.seconds(size) * draw.lognormvariate(0, 0.25) * (10 if i == 0 else 1) for i, size in enumerate(sizes)]
    gap = sum(took) / len(took) / slots / load
    now, recent, ratios = 0.0, Recent(), []
    running: list[tuple[float, float, int]] = []  # (end, begin, job)
    queue: deque[int] = deque()
    known: Cost | None = None
    said: dict[int, tuple[float, float]] = {}  # job → (admitted, ETA)

    def advance(until: float) -> None:
        while running and running[0][0] <= until:
            end, begin, job = heapq.heappop(running)
            recent.add(sizes[job], end - begin)
            if job in said:
                admitted, eta = said.pop(job)
                ratios.append(eta / (end - admitted))
            if queue:
                begun = queue.popleft()
                heapq.heappush(running, (end + took[begun], end, begun))

    for job in range(jobs):
        now += draw.expovariate(1 / gap)
        advance(now)
        known = recent.cost() if job % 10 == 0 else known
        if known is not None:
            place = Queue(
                [(sizes[other], now - begin) for _, begin, other in running],
                [sizes[other] for other in list(queue)[:32]],
                max(0, len(queue) - 32),
                sum(sizes[other] for other in queue) / max(1, len(queue)),
            )
            said[job] = (now, seconds_waiting(known, place, slots) + known.seconds(sizes[job]))
        if len(running) < slots:
            heapq.heappush(running, (now + took[job], now, job))
        else:
            queue.append(job)
    advance(math.inf)
    return ratios


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("load", [0.5, 0.9, 1.5])
@pytest.mark.parametrize("cost", [Cost(0.25, 0.07), Cost(0.9, 0.06, 10.0)], ids=["line", "less for small ones"])
def test_etas_of_a_mixed_load_are_near_the_truth(slots: int, load: float, cost: Cost) -> None:
    ratios = [ratio for seed in range(2) for ratio in simulate(seed, slots=slots, load=load, cost=cost)]
    assert 0.8 <= median(ratios) <= 1.5
    tenths = quantiles(ratios, n=20)
    assert tenths[0] >= 1 / 3  # with the other end: the worst tenth begins here
    assert tenths[-1] <= 3


def test_without_a_job_nothing_is_known() -> None:
    assert fit([]) is None
    assert weighted_mean([]) is None
    assert weighted_mean([(Cost(1, 1), 0.0)]) is None


def test_a_few_jobs_of_one_size_say_little_of_others_and_nothing_absurd() -> None:
    for samples in ([(0.1, 0.3)], [(0.1, 0.3), (0.12, 0.33)], [(0.1, 0.3)] * 20):
        cost = fit(samples)
        assert cost is not None
        assert cost.seconds(0.1) == pytest.approx(0.3, rel=0.1)
        assert 0.3 <= cost.seconds(36) <= 3
    large = fit([(36.0, 3.0)])
    assert large is not None
    assert large.seconds(36) == pytest.approx(3.0)
    assert 0.05 <= large.seconds(0.01) <= 3.0


def test_a_line_is_found_again_whatever_the_outliers() -> None:
    exact = [(m, 0.2 + 0.05 * m) for m in (0.1, 0.3, 1.0, 4.0, 12.0, 36.0) for _ in range(5)]
    cold = [(1.0, 30.0), (0.1, 9.0), (12.0, 0.001)]
    for samples in (exact, exact + cold, exact + [(0.1, 0.21)] * 5000):
        cost = fit(samples)
        assert cost is not None
        assert cost.fixed == pytest.approx(0.2, rel=0.05)
        assert cost.per_megapixel == pytest.approx(0.05, rel=0.05)


def test_no_part_is_negative() -> None:
    falling, through = fit([(1.0, 2.0), (30.0, 1.0)]), fit([(1.0, 0.01), (30.0, 3.0)])
    assert falling is not None
    assert through is not None
    assert falling.per_megapixel == 0
    assert falling.fixed > 0
    assert through.fixed == 0
    assert through.per_megapixel > 0


def test_small_pictures_may_be_cheaper() -> None:
    """As for a model that works on at most a tenth of a megapixel."""
    cost = fit([(m, min(1 + 0.05 * m, 10 * m)) for m in (0.01, 0.03, 0.1, 1.0, 9.0, 36.0) for _ in range(4)])
    assert cost is not None
    assert [cost.seconds(m) for m in (0.001, 0.01, 0.03, 0.3, 20)] == pytest.approx(
        [0.1, 0.1, 0.3, 1.015, 2.0], rel=0.02
    )
    unknown = fit([(m, 1 + 0.05 * m) for m in (0.1, 1.0, 9.0, 36.0) for _ in range(4)])
    assert unknown is not None
    assert unknown.max_per_megapixel == math.inf, "no small one says so"


def test_costs_of_versions_mix_by_their_traffic() -> None:
    assert weighted_mean([(Cost(1, 0), 90), (Cost(0, 1), 10)]) == Cost(0.9, 0.1)
    assert weighted_mean([(Cost(1, 0, 10), 1), (Cost(1, 0, 20), 1)]) == Cost(1, 0, 15)


def test_a_queue_waits_for_what_runs_and_what_is_ahead() -> None:
    cost = Cost(1.0, 0.1)
    assert seconds_waiting(cost, Queue(), slots=2) == 0
    assert seconds_waiting(cost, Queue(running=[(10, 0.5)]), slots=2) == 0  # the other slot is free
    assert seconds_waiting(cost, Queue(running=[(10, 0.5), (30, 0.0)]), slots=2) == 1.5
    assert seconds_waiting(cost, Queue(running=[(10, 0.5), (30, 0.0)], ahead=[10]), slots=2) == 3.5
    assert seconds_waiting(cost, Queue(further=40, mean=10), slots=4) == 20
    assert seconds_waiting(cost, Queue(ahead=[10]), slots=0) == 2
    assert seconds_left(cost, 10, 1.5) == 0.5
    assert seconds_left(cost, 10, 100) == 0.2  # it is late, but not done


def test_nobody_is_told_to_come_back_at_once_or_never() -> None:
    assert [retry_after(s) for s in (None, 0.2, 7.5, 4000.0)] == [1, 1, 7.5, 60]
