from __future__ import annotations

from matte_inference.memory import MIN_BYTES, default_bound, exceeds_bound, resident_bytes


def test_a_replica_leaks_above_its_bound_but_a_large_model_does_not() -> None:
    assert exceeds_bound(900, initial=300, bound=800)
    assert not exceeds_bound(700, initial=300, bound=800)
    assert not exceeds_bound(900, initial=700, bound=800)
    assert not exceeds_bound(10**12, initial=300, bound=0)


def test_many_replicas_share_the_machine_but_each_has_room_for_a_model() -> None:
    assert default_bound(1) >= default_bound(4) >= MIN_BYTES
    assert default_bound(10**6) == MIN_BYTES
    assert resident_bytes() >= 0
