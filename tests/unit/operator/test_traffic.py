from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matte_core.contracts.k8s.model import ModelSpec
from matte_operator.domain.traffic import TrafficSplit, VersionFacts, split_traffic

V1, V2, V3 = "1.0.0", "2.0.0", "3.0.0"


def spec(version: str = V2, traffic: Mapping[str, int] | None = None) -> ModelSpec:
    shares = [{"version": v, "weight": w} for v, w in (traffic or {}).items()]
    return ModelSpec.model_validate({"family": "grabcut", "version": version, "traffic": shares})


def facts(*ready: str, starting: tuple[str, ...] = (), pools: Mapping[str, str] | None = None) -> list[VersionFacts]:
    found = []
    for rank, version in enumerate(sorted({*ready, *starting})):
        found.append(VersionFacts(version, (pools or {}).get(version, "default"), version in ready, rank))
    return found


def test_the_first_version_gets_everything_once_it_is_ready() -> None:
    assert split_traffic(spec(V1), {}, facts(starting=(V1,))) == TrafficSplit({}, "1.0.0 is not ready")
    assert split_traffic(spec(V1), {}, facts(V1)) == TrafficSplit({V1: 100})


def test_the_old_version_keeps_the_traffic_until_the_new_one_is_ready() -> None:
    assert split_traffic(spec(), {V1: 100}, facts(V1, starting=(V2,))) == TrafficSplit({V1: 100}, "2.0.0 is not ready")
    assert split_traffic(spec(), {V1: 100}, facts(V1, V2)) == TrafficSplit({V2: 100})


def test_a_version_that_has_traffic_keeps_it_while_it_is_not_ready() -> None:
    assert split_traffic(spec(V1), {V1: 100}, facts(starting=(V1,))) == TrafficSplit({V1: 100})


def test_explicit_traffic_is_done_to_the_letter() -> None:
    assert split_traffic(spec(V2, {V1: 90, V2: 10}), {V1: 100}, facts(V1, V2)) == TrafficSplit({V1: 90, V2: 10})
    assert split_traffic(spec(V2, {V1: 100, V2: 0}), {V1: 100}, facts(V1, V2)) == TrafficSplit({V1: 100, V2: 0})


def test_traffic_to_an_unknown_version_is_refused_and_the_old_split_stays() -> None:
    refused = split_traffic(spec(V2, {V2: 50, V3: 50}), {V1: 70, V2: 30}, facts(V1, V2))
    assert refused == TrafficSplit({V1: 70, V2: 30}, "there is no version 3.0.0; there is 1.0.0, 2.0.0")


def test_traffic_to_an_unready_version_is_refused_and_the_old_split_stays() -> None:
    refused = split_traffic(spec(V2, {V1: 50, V2: 50}), {V1: 100}, facts(V1, starting=(V2,)))
    assert refused == TrafficSplit({V1: 100}, "2.0.0 is not ready")


def test_traffic_within_one_pool_only() -> None:
    refused = split_traffic(spec(V2, {V1: 50, V2: 50}), {V1: 100}, facts(V1, V2, pools={V2: "gpu"}))
    assert refused == TrafficSplit(
        {V1: 100}, "its versions are in the Pools default, gpu: traffic is split within one Pool"
    )


def test_explicit_traffic_that_cannot_be_done_gives_nothing_to_others() -> None:
    assert split_traffic(spec(V2, {V2: 100}), {}, facts(V1, starting=(V2,))).weights == {}


def test_the_share_of_a_version_that_is_gone_goes_to_the_others() -> None:
    assert split_traffic(spec(V3), {V1: 20, V2: 80}, facts(V1, starting=(V3,))).weights == {V1: 100}


def test_without_any_split_the_newest_ready_one_answers() -> None:
    assert split_traffic(spec(V3), {}, facts(V1, V2, starting=(V3,))).weights == {V2: 100}


def test_rollback_is_at_once_while_the_old_version_lives() -> None:
    assert split_traffic(spec(V1), {V2: 100, V1: 0}, facts(V1, V2)) == TrafficSplit({V1: 100})


versions = st.sampled_from([V1, V2, V3])
weights = st.dictionaries(versions, st.integers(1, 100), max_size=3)


@given(version=versions, old=weights, ready=st.sets(versions), starting=st.sets(versions))
def test_whatever_happens_the_weights_are_whole_and_of_versions_that_exist(
    version: str, old: dict[str, int], ready: set[str], starting: set[str]
) -> None:
    known = facts(*ready, starting=tuple(starting - ready))
    result = split_traffic(spec(version), old, known)
    assert not result.weights or sum(result.weights.values()) == 100
    assert set(result.weights) <= {each.version for each in known}
    entered = {v for v, weight in result.weights.items() if weight} - set(old)
    assert entered <= ready


@pytest.mark.parametrize("old", [{V1: 33, V2: 33, V3: 34}, {V1: 1, V2: 1, V3: 98}])
def test_rounding_loses_nothing(old: dict[str, int]) -> None:
    left = split_traffic(spec("4.0.0"), old, facts(V1, V2)).weights
    assert sum(left.values()) == 100
    assert min(left.values()) > 0
