import pytest
from matte_operator.domain.model import REMOVE_AFTER, RETIRE_AFTER, ROUTE_AFTER
from matte_operator.domain.ray_state import AppStatus, ServeApp
from unit.operator.builders import ModelSimulation

DEPLOYING = ServeApp(AppStatus.DEPLOYING)
FAILED = ServeApp(
    AppStatus.DEPLOY_FAILED, "FileNotFoundError: portrait-2-0-0: there is no folder /models/portrait: put …"
)


def served() -> ModelSimulation:
    simulation = ModelSimulation()
    simulation.decide_until_stable()
    simulation.app("1.0.0").decide_until_stable()
    simulation.after(ROUTE_AFTER).decide_until_stable()
    return simulation


def test_a_new_model_makes_its_version_and_no_route() -> None:
    simulation = ModelSimulation()
    (wanted,) = simulation.decide().apply
    assert (wanted.model, wanted.version) == ("portrait", "1.0.0")
    simulation.decide_until_stable()
    assert simulation.arms() == {}
    assert simulation.condition("Ready")[:2] == ("False", "Starting")
    assert simulation.condition("Progressing")[:2] == ("True", "Starting")


def test_it_is_ready_when_its_route_has_had_the_time_to_arrive() -> None:
    simulation = ModelSimulation()
    simulation.decide_until_stable()
    simulation.app("1.0.0").decide_until_stable()
    assert simulation.arms() == {"1.0.0": 100}
    assert simulation.condition("Ready") == ("False", "Routing", "1.0.0 runs, its route is on the way")
    assert simulation.decision.requeue_after == ROUTE_AFTER
    simulation.after(ROUTE_AFTER).decide_until_stable()
    assert simulation.condition("Ready")[:2] == ("True", "Serving")


def test_it_is_routed_when_it_runs() -> None:
    simulation = served()
    assert simulation.arms() == {"1.0.0": 100}
    assert simulation.condition("Ready") == ("True", "Serving", "1.0.0 100 %")
    assert simulation.condition("Progressing")[:2] == ("False", "Complete")
    assert simulation.status.ready_version == "1.0.0"
    assert simulation.decision.requeue_after is None


def test_at_rest_a_decision_changes_nothing() -> None:
    simulation = served()
    before = (simulation.status, dict(simulation.versions))
    simulation.after(3600).decide_until_stable()
    assert (simulation.status, dict(simulation.versions)) == before


def test_the_old_version_serves_until_the_new_one_runs_then_leaves_in_two_steps() -> None:
    simulation = served().edit(version="2.0.0")
    simulation.decide_until_stable()
    assert simulation.arms() == {"1.0.0": 100}
    assert set(simulation.decision.version_statuses) == {"portrait-1-0-0", "portrait-2-0-0"}
    simulation.app("2.0.0").decide_until_stable()
    assert simulation.arms() == {"1.0.0": 0, "2.0.0": 100}
    assert simulation.decision.requeue_after == RETIRE_AFTER
    simulation.after(RETIRE_AFTER).decide_until_stable()
    assert simulation.arms() == {"2.0.0": 100}
    assert "portrait-1-0-0" in simulation.decision.version_statuses
    assert simulation.decision.requeue_after == REMOVE_AFTER - RETIRE_AFTER
    simulation.after(REMOVE_AFTER - RETIRE_AFTER).decide_until_stable()
    assert set(simulation.versions) == {"portrait-2-0-0"}
    assert simulation.decision.requeue_after is None


def test_nothing_is_removed_by_a_version_that_fails() -> None:
    simulation = served().edit(version="2.0.0")
    simulation.decide_until_stable()
    simulation.app("2.0.0", FAILED).after(7200).decide_until_stable()
    assert simulation.arms() == {"1.0.0": 100}
    assert simulation.condition("Ready")[0] == "True"
    status, reason, message = simulation.condition("Progressing")
    assert (status, reason) == ("False", "WeightsMissing")
    assert "1.0.0 keeps the traffic" in message


def test_a_version_that_was_given_up_goes_though_it_never_served() -> None:
    simulation = served().edit(version="2.0.0")
    simulation.decide_until_stable()
    simulation.app("2.0.0", FAILED).decide_until_stable()
    simulation.edit(version="3.0.0").decide_until_stable()
    simulation.app("3.0.0").decide_until_stable()
    simulation.after(REMOVE_AFTER).decide_until_stable()
    assert set(simulation.versions) == {"portrait-3-0-0"}


def test_rollback_within_the_delay_is_immediate() -> None:
    simulation = served().edit(version="2.0.0")
    simulation.decide_until_stable()
    simulation.app("2.0.0").decide_until_stable()
    simulation.after(30).edit(version="1.0.0").decide_until_stable()
    assert simulation.arms() == {"1.0.0": 100, "2.0.0": 0}
    simulation.after(REMOVE_AFTER).decide_until_stable()
    assert set(simulation.versions) == {"portrait-1-0-0"}


def test_explicit_traffic_keeps_every_version_it_names() -> None:
    simulation = served().edit(
        version="2.0.0", traffic=[{"version": "1.0.0", "weight": 90}, {"version": "2.0.0", "weight": 10}]
    )
    simulation.decide_until_stable()
    assert simulation.condition("Progressing")[1] == "TrafficRefused"
    assert simulation.arms() == {"1.0.0": 100}
    simulation.app("2.0.0").decide_until_stable()
    simulation.after(7200).decide_until_stable()
    assert simulation.arms() == {"1.0.0": 90, "2.0.0": 10}
    assert simulation.condition("Ready")[2] == "1.0.0 90 %, 2.0.0 10 %"


def test_a_mirror_and_rules_reach_the_routers() -> None:
    simulation = served().edit(
        version="2.0.0",
        traffic=[{"version": "1.0.0", "weight": 100}, {"version": "2.0.0", "weight": 0}],
        mirror={"version": "2.0.0", "percent": 10},
        rules=[{"version": "2.0.0", "header": "X-Beta"}],
    )
    simulation.decide_until_stable()
    assert simulation.decision.routes["default"].mirror is None  # 2.0.0 has no route yet
    simulation.app("2.0.0").decide_until_stable()
    route = simulation.decision.routes["default"]
    assert route.mirror is not None
    assert (route.mirror.version, route.mirror.percent) == ("2.0.0", 10)
    assert [(rule.version, rule.header) for rule in route.rules] == [("2.0.0", "X-Beta")]


def test_a_mirror_must_be_one_of_the_versions_in_traffic() -> None:
    with pytest.raises(ValueError, match="must be listed in traffic"):
        served().edit(mirror={"version": "2.0.0", "percent": 10}).decide()


def test_traffic_to_a_version_that_is_not_there_is_told_and_changes_nothing() -> None:
    simulation = served().edit(traffic=[{"version": "9.0.0", "weight": 100}])
    simulation.decide_until_stable()
    assert simulation.arms() == {"1.0.0": 100}
    status, reason, message = simulation.condition("Progressing")
    assert (status, reason) == ("False", "TrafficRefused")
    assert "there is no version 9.0.0; there is 1.0.0" in message


def test_a_version_with_weight_zero_answers_pins_for_as_long_as_it_is_named() -> None:
    simulation = served().edit(
        version="2.0.0", traffic=[{"version": "1.0.0", "weight": 100}, {"version": "2.0.0", "weight": 0}]
    )
    simulation.decide_until_stable()
    simulation.app("2.0.0").decide_until_stable()
    simulation.after(7200).decide_until_stable()
    assert simulation.arms() == {"1.0.0": 100, "2.0.0": 0}
    assert simulation.decision.requeue_after is None


def test_replicas_scale_the_version_in_place() -> None:
    simulation = served().edit(replicas=3)
    (wanted,) = simulation.decide().apply
    assert (wanted.version, wanted.replicas) == ("1.0.0", 3)
    assert simulation.decide_until_stable().delete == ()


def test_a_served_version_stays_ready_while_serve_changes_something() -> None:
    simulation = served().app("1.0.0", DEPLOYING)
    simulation.decide_until_stable()
    assert simulation.condition("Ready")[0] == "True"


def test_it_stays_ready_while_the_head_is_away_and_workers_are_there() -> None:
    simulation = served()
    simulation.apps.clear()
    simulation.decide_until_stable()
    assert simulation.condition("Ready")[0] == "True"
    simulation.has_workers, simulation.pool_problem = False, ("PoolNotReady", "Pool default is not ready: …")
    simulation.decide_until_stable()
    assert simulation.condition("Ready")[:2] == ("False", "PoolNotReady")
    assert simulation.arms() == {"1.0.0": 100}


def test_another_pool_takes_over_and_the_first_loses_its_route() -> None:
    simulation = served().edit(version="2.0.0", pool="gpu")
    simulation.decide_until_stable()
    assert simulation.arms() == {"1.0.0": 100}
    simulation.app("2.0.0").decide_until_stable()
    assert simulation.arms("gpu") == {"2.0.0": 100}
    assert simulation.arms() == {}


def test_a_version_that_somebody_deleted_is_made_again() -> None:
    simulation = served()
    simulation.versions.clear()
    simulation.apps.clear()
    (wanted,) = simulation.decide().apply
    assert wanted.version == "1.0.0"


@pytest.mark.parametrize("status", [AppStatus.UNHEALTHY, AppStatus.DEPLOY_FAILED])
def test_a_broken_version_is_not_ready_and_keeps_its_route(status: AppStatus) -> None:
    simulation = served().app("1.0.0", ServeApp(status, "RuntimeError: CUDA out of memory"))
    simulation.decide_until_stable()
    assert simulation.condition("Ready")[0] == "False"
    assert "CUDA out of memory" in simulation.condition("Ready")[2]
    assert simulation.arms() == {"1.0.0": 100}
