import pytest
from matte_operator.domain.model import REMOVE_AFTER, RETIRE_AFTER, ROUTE_AFTER
from matte_operator.domain.serving import App, AppStatus
from unit.operator.builders import Life

DEPLOYING = App(AppStatus.DEPLOYING)
FAILED = App(AppStatus.DEPLOY_FAILED, "FileNotFoundError: portrait-2-0-0: there is no folder /models/portrait: put …")


def served() -> Life:
    life = Life()
    life.settle()
    life.app("1.0.0").settle()
    life.after(ROUTE_AFTER).settle()
    return life


def test_a_new_model_makes_its_version_and_no_route() -> None:
    life = Life()
    (wanted,) = life.decide().wanted
    assert (wanted.model, wanted.version) == ("portrait", "1.0.0")
    life.settle()
    assert life.arms() == {}
    assert life.condition("Ready")[:2] == ("False", "Starting")
    assert life.condition("Progressing")[:2] == ("True", "Starting")


def test_it_is_ready_when_its_route_has_had_the_time_to_arrive() -> None:
    life = Life()
    life.settle()
    life.app("1.0.0").settle()
    assert life.arms() == {"1.0.0": 100}
    assert life.condition("Ready") == ("False", "Routing", "1.0.0 runs, its route is on the way")
    assert life.decision.requeue_after == ROUTE_AFTER
    life.after(ROUTE_AFTER).settle()
    assert life.condition("Ready")[:2] == ("True", "Serving")


def test_it_is_routed_when_it_runs() -> None:
    life = served()
    assert life.arms() == {"1.0.0": 100}
    assert life.condition("Ready") == ("True", "Serving", "1.0.0 100 %")
    assert life.condition("Progressing")[:2] == ("False", "Complete")
    assert life.status.ready_version == "1.0.0"
    assert life.decision.requeue_after is None


def test_at_rest_a_decision_changes_nothing() -> None:
    life = served()
    before = (life.status, dict(life.versions))
    life.after(3600).settle()
    assert (life.status, dict(life.versions)) == before


def test_the_old_version_serves_until_the_new_one_runs_then_leaves_in_two_steps() -> None:
    life = served().edit(version="2.0.0")
    life.settle()
    assert life.arms() == {"1.0.0": 100}
    assert set(life.decision.versions) == {"portrait-1-0-0", "portrait-2-0-0"}
    life.app("2.0.0").settle()
    assert life.arms() == {"1.0.0": 0, "2.0.0": 100}
    assert life.decision.requeue_after == RETIRE_AFTER
    life.after(RETIRE_AFTER).settle()
    assert life.arms() == {"2.0.0": 100}
    assert "portrait-1-0-0" in life.decision.versions
    assert life.decision.requeue_after == REMOVE_AFTER - RETIRE_AFTER
    life.after(REMOVE_AFTER - RETIRE_AFTER).settle()
    assert set(life.versions) == {"portrait-2-0-0"}
    assert life.decision.requeue_after is None


def test_nothing_is_removed_by_a_version_that_fails() -> None:
    life = served().edit(version="2.0.0")
    life.settle()
    life.app("2.0.0", FAILED).after(7200).settle()
    assert life.arms() == {"1.0.0": 100}
    assert life.condition("Ready")[0] == "True"
    status, reason, message = life.condition("Progressing")
    assert (status, reason) == ("False", "WeightsMissing")
    assert "1.0.0 keeps the traffic" in message


def test_a_version_that_was_given_up_goes_though_it_never_served() -> None:
    life = served().edit(version="2.0.0")
    life.settle()
    life.app("2.0.0", FAILED).settle()
    life.edit(version="3.0.0").settle()
    life.app("3.0.0").settle()
    life.after(REMOVE_AFTER).settle()
    assert set(life.versions) == {"portrait-3-0-0"}


def test_rollback_within_the_delay_is_immediate() -> None:
    life = served().edit(version="2.0.0")
    life.settle()
    life.app("2.0.0").settle()
    life.after(30).edit(version="1.0.0").settle()
    assert life.arms() == {"1.0.0": 100, "2.0.0": 0}
    life.after(REMOVE_AFTER).settle()
    assert set(life.versions) == {"portrait-1-0-0"}


def test_explicit_traffic_keeps_every_version_it_names() -> None:
    life = served().edit(
        version="2.0.0", traffic=[{"version": "1.0.0", "weight": 90}, {"version": "2.0.0", "weight": 10}]
    )
    life.settle()
    assert life.condition("Progressing")[1] == "TrafficRefused"
    assert life.arms() == {"1.0.0": 100}
    life.app("2.0.0").settle()
    life.after(7200).settle()
    assert life.arms() == {"1.0.0": 90, "2.0.0": 10}
    assert life.condition("Ready")[2] == "1.0.0 90 %, 2.0.0 10 %"


def test_a_mirror_and_rules_reach_the_routers() -> None:
    life = served().edit(
        version="2.0.0",
        traffic=[{"version": "1.0.0", "weight": 100}, {"version": "2.0.0", "weight": 0}],
        mirror={"version": "2.0.0", "percent": 10},
        rules=[{"version": "2.0.0", "header": "X-Beta"}],
    )
    life.settle()
    assert life.decision.routes["default"].mirror is None  # 2.0.0 has no route yet
    life.app("2.0.0").settle()
    route = life.decision.routes["default"]
    assert route.mirror is not None
    assert (route.mirror.version, route.mirror.percent) == ("2.0.0", 10)
    assert [(rule.version, rule.header) for rule in route.rules] == [("2.0.0", "X-Beta")]


def test_a_mirror_must_be_one_of_the_versions_in_traffic() -> None:
    with pytest.raises(ValueError, match="one of traffic"):
        served().edit(mirror={"version": "2.0.0", "percent": 10}).decide()


def test_traffic_to_a_version_that_is_not_there_is_told_and_changes_nothing() -> None:
    life = served().edit(traffic=[{"version": "9.0.0", "weight": 100}])
    life.settle()
    assert life.arms() == {"1.0.0": 100}
    status, reason, message = life.condition("Progressing")
    assert (status, reason) == ("False", "TrafficRefused")
    assert "there is no version 9.0.0; there is 1.0.0" in message


def test_a_version_with_weight_zero_answers_pins_for_as_long_as_it_is_named() -> None:
    life = served().edit(
        version="2.0.0", traffic=[{"version": "1.0.0", "weight": 100}, {"version": "2.0.0", "weight": 0}]
    )
    life.settle()
    life.app("2.0.0").settle()
    life.after(7200).settle()
    assert life.arms() == {"1.0.0": 100, "2.0.0": 0}
    assert life.decision.requeue_after is None


def test_replicas_scale_the_version_in_place() -> None:
    life = served().edit(replicas=3)
    (wanted,) = life.decide().wanted
    assert (wanted.version, wanted.replicas) == ("1.0.0", 3)
    assert life.settle().remove == ()


def test_a_served_version_stays_ready_while_serve_changes_something() -> None:
    life = served().app("1.0.0", DEPLOYING)
    life.settle()
    assert life.condition("Ready")[0] == "True"


def test_it_stays_ready_while_the_head_is_away_and_workers_are_there() -> None:
    life = served()
    life.apps.clear()
    life.settle()
    assert life.condition("Ready")[0] == "True"
    life.has_workers, life.pool_problem = False, ("PoolNotReady", "Pool default is not ready: …")
    life.settle()
    assert life.condition("Ready")[:2] == ("False", "PoolNotReady")
    assert life.arms() == {"1.0.0": 100}


def test_another_pool_takes_over_and_the_first_loses_its_route() -> None:
    life = served().edit(version="2.0.0", pool="gpu")
    life.settle()
    assert life.arms() == {"1.0.0": 100}
    life.app("2.0.0").settle()
    assert life.arms("gpu") == {"2.0.0": 100}
    assert life.arms() == {}


def test_a_version_that_somebody_deleted_is_made_again() -> None:
    life = served()
    life.versions.clear()
    life.apps.clear()
    (wanted,) = life.decide().wanted
    assert wanted.version == "1.0.0"


@pytest.mark.parametrize("status", [AppStatus.UNHEALTHY, AppStatus.DEPLOY_FAILED])
def test_a_broken_version_is_not_ready_and_keeps_its_route(status: AppStatus) -> None:
    life = served().app("1.0.0", App(status, "RuntimeError: CUDA out of memory"))
    life.settle()
    assert life.condition("Ready")[0] == "False"
    assert "CUDA out of memory" in life.condition("Ready")[2]
    assert life.arms() == {"1.0.0": 100}
