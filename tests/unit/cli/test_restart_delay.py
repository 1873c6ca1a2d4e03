from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from matte_cli.supervisor import FIRST_DELAY_SECONDS, GIVE_UP_AFTER, LONGEST_DELAY_SECONDS, restart_delay


def delays(failures: int, *, was_ready: bool) -> list[float | None]:
    return [restart_delay(number, was_ready=was_ready) for number in range(1, failures + 1)]


def test_doubles_up_to_a_bound() -> None:
    assert delays(9, was_ready=True) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_gives_up_only_before_it_was_ready() -> None:
    assert delays(GIVE_UP_AFTER, was_ready=False) == [0, 0.5, 1, None]


@given(st.integers(1, 10**6))
def test_a_ready_service_always_comes_back_in_bounded_time(failures: int) -> None:
    delay = restart_delay(failures, was_ready=True)
    assert delay is not None
    assert delay == 0 or FIRST_DELAY_SECONDS <= delay <= LONGEST_DELAY_SECONDS
