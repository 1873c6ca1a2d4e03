from __future__ import annotations

from matte_inference.memory import LEAST_BYTES, default_bound, held_bytes, outgrown


def test_a_replica_leaks_above_its_bound_but_a_large_model_does_not() -> None:
    assert outgrown(900, at_start=300, most=800)
    assert not outgrown(700, at_start=300, most=800)
    assert not outgrown(900, at_start=700, most=800)
    assert not outgrown(10**12, at_start=300, most=0)


def test_many_replicas_share_the_machine_but_each_has_room_for_a_model() -> None:
    assert default_bound(1) >= default_bound(4) >= LEAST_BYTES
    assert default_bound(10**6) == LEAST_BYTES
    assert held_bytes() >= 0
