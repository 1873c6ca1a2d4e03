"""promote, abort, retry, pause, resume: what they change is what the operator's own ``decide`` then does."""

from __future__ import annotations

from typing import Any

import pytest
from matte_cli.rollout.actions import Action, change_for
from matte_cli.rollout.state import Rollout, RolloutError
from matte_core.contracts.k8s.model import Model
from matte_core.contracts.k8s.rollout import Phase, RolloutSpec
from matte_operator.domain.rollout.observation import GoldenResults
from rollout_simulation import ERRORS, FEW, RolloutSimulation, wanted


def of(simulation: RolloutSimulation) -> Rollout:
    return Rollout("portrait", simulation.spec.version, simulation.spec.rollout, simulation.status)


def patched(simulation: RolloutSimulation, action: Action, request_id: str = "a1") -> str:
    """Asks, and changes the simulation's spec as the API server would."""
    found = change_for(action, of(simulation), request_id)
    assert set(found.patch) == {"spec"}
    assert set(found.patch["spec"]) == {"rollout"}
    now = simulation.spec.rollout.model_dump(mode="json", exclude_none=True)
    rollout = RolloutSpec.model_validate(now | found.patch["spec"]["rollout"])
    simulation.spec = wanted(simulation.spec.version)
    simulation.spec = type(simulation.spec)(
        simulation.spec.version, simulation.spec.hash, simulation.spec.replicas, rollout
    )
    return found.effect


def refused(simulation: RolloutSimulation, action: Action) -> str:
    with pytest.raises(RolloutError) as caught:
        change_for(action, of(simulation), "a1")
    return str(caught.value)


def test_promote_skips_the_steps() -> None:
    simulation = RolloutSimulation()
    simulation.phase(Phase.STEPPING)
    assert patched(simulation, "promote") == "2.0.0 of portrait gets all traffic now, whatever the analysis says"
    simulation.phase(Phase.PROMOTING)
    assert simulation.status is not None
    assert simulation.status.step == 0
    assert "is being promoted already" in refused(simulation, "promote")
    simulation.phase(Phase.SUCCEEDED)
    assert "2.0.0 of portrait serves" in refused(simulation, "promote")


def test_promote_before_the_golden_images_waits_for_them() -> None:
    simulation = RolloutSimulation(gates={"golden": GoldenResults(2, ())})
    simulation.phase(Phase.GOLDEN)
    assert "once it has answered the golden images" in patched(simulation, "promote")
    assert simulation.pass_().status.phase is Phase.GOLDEN
    simulation.gates = {}
    simulation.phase(Phase.PROMOTING)


def test_abort_goes_back_and_retry_begins_again() -> None:
    simulation = RolloutSimulation()
    simulation.phase(Phase.STEPPING)
    assert patched(simulation, "abort") == "2.0.0 of portrait is rolled back: the traffic goes back to 1.0.0"
    simulation.phase(Phase.ROLLED_BACK)
    assert "matte rollout retry portrait begins it again" in refused(simulation, "abort")
    assert "was rolled back" in refused(simulation, "promote")
    assert "begins again" in patched(simulation, "retry")
    simulation.phase(Phase.STEPPING)
    assert simulation.status is not None
    assert simulation.status.attempt == 2


def test_the_same_request_twice_needs_another_id() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": ERRORS})
    for attempt, request_id in ((2, "a1"), (3, "a2")):
        simulation.phase(Phase.ROLLED_BACK)
        patched(simulation, "retry", request_id)
        simulation.phase(Phase.STEPPING)
        assert simulation.status is not None
        assert simulation.status.attempt == attempt


def test_pause_and_resume() -> None:
    simulation = RolloutSimulation()
    simulation.phase(Phase.STEPPING)
    assert "is not paused" in refused(simulation, "resume")
    patched(simulation, "pause")
    simulation.phase(Phase.PAUSED)
    assert "is paused already" in refused(simulation, "pause")
    assert "matte rollout resume portrait" in refused(simulation, "retry")
    assert patched(simulation, "resume") == "the rollout of 2.0.0 of portrait goes on"
    simulation.phase(Phase.SUCCEEDED)


def test_what_paused_by_itself_is_retried_and_not_resumed() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": FEW})
    simulation.phase(Phase.PAUSED)
    assert "matte rollout retry portrait tries the step again" in refused(simulation, "resume")
    assert "at 10 % is tried again" in patched(simulation, "retry")
    simulation.answers = {}
    simulation.phase(Phase.SUCCEEDED)


@pytest.mark.parametrize("action", ["promote", "abort", "pause"])
def test_nothing_is_under_way(action: Action) -> None:
    assert f"nothing to {action}: 1.0.0 of portrait serves" in refused(RolloutSimulation(), action)


def test_a_version_that_is_not_begun_is_not_promoted_in_place_of_another() -> None:
    simulation = RolloutSimulation()
    simulation.phase(Phase.STEPPING)
    simulation.spec = wanted("3.0.0")
    assert "the operator is still with 2.0.0" in refused(simulation, "promote")


def test_without_a_rollout_there_is_nothing_to_ask() -> None:
    assert "no spec.rollout" in refused_of(Rollout("portrait", "1.0.0", None, None))
    assert "is the operator running" in refused_of(Rollout("portrait", "1.0.0", wanted().rollout, None))


def refused_of(rollout: Rollout) -> str:
    with pytest.raises(RolloutError) as caught:
        change_for("promote", rollout, "a1")
    return str(caught.value)


def body(simulation: RolloutSimulation, **spec: Any) -> dict[str, Any]:
    """The Model as the API server has it."""
    rollout = simulation.spec.rollout.model_dump(mode="json", exclude_none=True)
    assert simulation.status is not None
    return {
        "apiVersion": "matte.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "portrait"},
        "spec": {"family": "grabcut", "version": simulation.spec.version, "rollout": rollout, **spec},
        "status": {"rollout": simulation.status.model_dump(mode="json", exclude_none=True)},
    }


def test_a_patch_fits_the_model() -> None:
    simulation = RolloutSimulation()
    simulation.phase(Phase.STEPPING)
    found = Rollout.of(body(simulation))
    assert found == of(simulation)
    for action in ("promote", "pause"):
        change = change_for(action, found, "a1").patch["spec"]["rollout"]
        document = body(simulation)
        document["spec"]["rollout"] |= change
        Model.model_validate(document)


def test_what_is_newer_is_told_only_where_it_is_about_rollouts() -> None:
    simulation = RolloutSimulation()
    assert Rollout.of(body(simulation, somethingNew=1)).version == "2.0.0"
    document = body(simulation)
    document["status"]["rollout"]["phase"] = "Levitating"
    with pytest.raises(RolloutError, match="of different versions"):
        Rollout.of(document)


def test_it_is_over_when_it_is_about_the_version_that_is_asked_for() -> None:
    simulation = RolloutSimulation()
    assert not of(simulation).over, "1.0.0 serves, 2.0.0 is asked for"
    simulation.phase(Phase.STEPPING)
    assert not of(simulation).over
    simulation.phase(Phase.SUCCEEDED)
    assert of(simulation).over
    simulation.spec = wanted("3.0.0")
    assert not of(simulation).over


def test_a_retry_that_the_operator_has_not_seen_is_not_over() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": ERRORS})
    simulation.phase(Phase.ROLLED_BACK)
    assert of(simulation).over
    patched(simulation, "retry")
    assert not of(simulation).over
