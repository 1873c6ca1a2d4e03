"""Queue order: priority, then fair share, then arrival."""

from __future__ import annotations

from fair_queue import FairClock, sort_key
from hypothesis import given
from hypothesis import strategies as st


def queue(jobs: list[tuple[int, str, float, float]]) -> list[int]:
    clock = FairClock()
    entries = [
        (sort_key(priority, clock.admit(priority, tenant, cost, share), i, f"j{i}"), i)
        for i, (priority, tenant, cost, share) in enumerate(jobs)
    ]
    return [i for _, i in sorted(entries)]


def test_a_tenant_with_many_jobs_does_not_delay_one_with_few() -> None:
    jobs = [(5, "big", 1.0, 1.0)] * 100 + [(5, "small", 1.0, 1.0)] * 2
    order = queue(jobs)
    assert order.index(100) == 1
    assert order.index(101) == 3


def test_shares_weigh_and_costs_count() -> None:
    order = queue([(5, "double", 1.0, 2.0)] * 6 + [(5, "single", 1.0, 1.0)] * 3)
    assert sum(i < 6 for i in order[:6]) == 4
    heavy_first = queue([(5, "heavy", 10.0, 1.0)] * 2 + [(5, "light", 1.0, 1.0)] * 11)
    assert heavy_first.index(1) == 11  # the second 10 megapixels come after ten times one


def test_priority_comes_first() -> None:
    assert queue([(5, "a", 1.0, 1.0), (0, "b", 1.0, 1.0), (9, "c", 1.0, 1.0)]) == [1, 0, 2]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.floats(0.1, 50), st.floats(0.1, 10))))
def test_one_tenant_of_one_priority_is_served_in_arrival_order(jobs: list[tuple[int, str, float, float]]) -> None:
    order = queue(jobs)
    for priority in range(10):
        for tenant in "ab":
            own = [i for i in order if jobs[i][:2] == (priority, tenant)]
            assert own == sorted(own)


def test_a_new_busy_period_owes_nothing() -> None:
    clock = FairClock()
    for _ in range(5):
        clock.admit(5, "a", 1.0, 1.0)
    clock.reset()
    assert clock.admit(5, "a", 1.0, 1.0) == clock.admit(5, "b", 1.0, 1.0) == 5000
