from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from matte_cli.supervisor import (
    FIRST_DELAY_SECONDS,
    GIVE_UP_AFTER,
    HEALTHY_AFTER_SECONDS,
    LONGEST_DELAY_SECONDS,
    failures_in_a_row,
    restart_delay,
)


def delays(lives: list[float], *, was_ready: bool) -> list[float | None]:
    found, failures = [], 0
    for lived in lives:
        failures = failures_in_a_row(failures, lived=lived)
        found.append(restart_delay(failures, was_ready=was_ready))
    return found


def test_doubles_up_to_a_bound() -> None:
    assert delays([0.0] * 9, was_ready=True) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_long_life_forgives() -> None:
    assert delays([0, 0, 0, HEALTHY_AFTER_SECONDS, 0], was_ready=True) == [0, 0.5, 1, 0, 0.5]


def test_gives_up_only_before_it_was_ready() -> None:
    assert delays([0.0] * GIVE_UP_AFTER, was_ready=False) == [0, 0.5, 1, None]


@given(st.integers(0, 10**6), st.floats(0, 10**6))
def test_a_ready_service_always_comes_back_in_bounded_time(failures: int, lived: float) -> None:
    delay = restart_delay(failures_in_a_row(failures, lived=lived), was_ready=True)
    assert delay is not None
    assert delay == 0 or FIRST_DELAY_SECONDS <= delay <= LONGEST_DELAY_SECONDS
