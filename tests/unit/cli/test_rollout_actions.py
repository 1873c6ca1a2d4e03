"""promote, abort, retry, pause, resume: what they change is what the operator's own ``decide`` then does."""

from __future__ import annotations

from typing import Any

import pytest
from matte_cli.rollout.actions import Action, ask
from matte_cli.rollout.state import Rollout, RolloutError
from matte_core.contracts.k8s.model import Model
from matte_core.contracts.k8s.rollout import Phase, RolloutSpec
from matte_operator.domain.rollout.observe import GoldenSeen
from rollouts import ERRORS, FEW, World, wanted


def of(world: World) -> Rollout:
    return Rollout("portrait", world.spec.version, world.spec.rollout, world.status)


def patched(world: World, action: Action, request_id: str = "a1") -> str:
    """Asks, and changes the world's spec as the API server would."""
    found = ask(action, of(world), request_id)
    assert set(found.patch) == {"spec"}
    assert set(found.patch["spec"]) == {"rollout"}
    now = world.spec.rollout.model_dump(mode="json", exclude_none=True)
    rollout = RolloutSpec.model_validate(now | found.patch["spec"]["rollout"])
    world.spec = wanted(world.spec.version)
    world.spec = type(world.spec)(world.spec.version, world.spec.hash, world.spec.replicas, rollout)
    return found.says


def refused(world: World, action: Action) -> str:
    with pytest.raises(RolloutError) as caught:
        ask(action, of(world), "a1")
    return str(caught.value)


def test_promote_skips_the_steps() -> None:
    world = World()
    world.phase(Phase.STEPPING)
    assert patched(world, "promote") == "2.0.0 of portrait gets all traffic now, whatever the analysis says"
    world.phase(Phase.PROMOTING)
    assert world.status is not None
    assert world.status.step == 0
    assert "is being promoted already" in refused(world, "promote")
    world.phase(Phase.SUCCEEDED)
    assert "2.0.0 of portrait serves" in refused(world, "promote")


def test_promote_before_the_golden_images_waits_for_them() -> None:
    world = World(gates={"golden": GoldenSeen(2, ())})
    world.phase(Phase.GOLDEN)
    assert "once it has answered the golden images" in patched(world, "promote")
    assert world.pass_().status.phase is Phase.GOLDEN
    world.gates = {}
    world.phase(Phase.PROMOTING)


def test_abort_goes_back_and_retry_begins_again() -> None:
    world = World()
    world.phase(Phase.STEPPING)
    assert patched(world, "abort") == "2.0.0 of portrait is rolled back: the traffic goes back to 1.0.0"
    world.phase(Phase.ROLLED_BACK)
    assert "matte rollout retry portrait begins it again" in refused(world, "abort")
    assert "was rolled back" in refused(world, "promote")
    assert "begins again" in patched(world, "retry")
    world.phase(Phase.STEPPING)
    assert world.status is not None
    assert world.status.attempt == 2


def test_the_same_request_twice_needs_another_id() -> None:
    world = World(answers={"2.0.0": ERRORS})
    for attempt, request_id in ((2, "a1"), (3, "a2")):
        world.phase(Phase.ROLLED_BACK)
        patched(world, "retry", request_id)
        world.phase(Phase.STEPPING)
        assert world.status is not None
        assert world.status.attempt == attempt


def test_pause_and_resume() -> None:
    world = World()
    world.phase(Phase.STEPPING)
    assert "is not paused" in refused(world, "resume")
    patched(world, "pause")
    world.phase(Phase.PAUSED)
    assert "is paused already" in refused(world, "pause")
    assert "matte rollout resume portrait" in refused(world, "retry")
    assert patched(world, "resume") == "the rollout of 2.0.0 of portrait goes on"
    world.phase(Phase.SUCCEEDED)


def test_what_paused_by_itself_is_retried_and_not_resumed() -> None:
    world = World(answers={"2.0.0": FEW})
    world.phase(Phase.PAUSED)
    assert "matte rollout retry portrait tries the step again" in refused(world, "resume")
    assert "at 10 % is tried again" in patched(world, "retry")
    world.answers = {}
    world.phase(Phase.SUCCEEDED)


@pytest.mark.parametrize("action", ["promote", "abort", "pause"])
def test_nothing_is_under_way(action: Action) -> None:
    assert f"nothing to {action}: 1.0.0 of portrait serves" in refused(World(), action)


def test_a_version_that_is_not_begun_is_not_promoted_in_place_of_another() -> None:
    world = World()
    world.phase(Phase.STEPPING)
    world.spec = wanted("3.0.0")
    assert "the operator is still with 2.0.0" in refused(world, "promote")


def test_without_a_rollout_there_is_nothing_to_ask() -> None:
    assert "no spec.rollout" in refused_of(Rollout("portrait", "1.0.0", None, None))
    assert "is the operator running" in refused_of(Rollout("portrait", "1.0.0", wanted().rollout, None))


def refused_of(rollout: Rollout) -> str:
    with pytest.raises(RolloutError) as caught:
        ask("promote", rollout, "a1")
    return str(caught.value)


def body(world: World, **spec: Any) -> dict[str, Any]:
    """The Model as the API server has it."""
    rollout = world.spec.rollout.model_dump(mode="json", exclude_none=True)
    assert world.status is not None
    return {
        "apiVersion": "matte.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "portrait"},
        "spec": {"family": "grabcut", "version": world.spec.version, "rollout": rollout, **spec},
        "status": {"rollout": world.status.model_dump(mode="json", exclude_none=True)},
    }


def test_a_patch_fits_the_model() -> None:
    world = World()
    world.phase(Phase.STEPPING)
    found = Rollout.of(body(world))
    assert found == of(world)
    for action in ("promote", "pause"):
        change = ask(action, found, "a1").patch["spec"]["rollout"]
        document = body(world)
        document["spec"]["rollout"] |= change
        Model.model_validate(document)


def test_what_is_newer_is_told_only_where_it_is_about_rollouts() -> None:
    world = World()
    assert Rollout.of(body(world, somethingNew=1)).version == "2.0.0"
    document = body(world)
    document["status"]["rollout"]["phase"] = "Levitating"
    with pytest.raises(RolloutError, match="of different versions"):
        Rollout.of(document)


def test_it_is_over_when_it_is_about_the_version_that_is_asked_for() -> None:
    world = World()
    assert not of(world).over, "1.0.0 serves, 2.0.0 is asked for"
    world.phase(Phase.STEPPING)
    assert not of(world).over
    world.phase(Phase.SUCCEEDED)
    assert of(world).over
    world.spec = wanted("3.0.0")
    assert not of(world).over


def test_a_retry_that_the_operator_has_not_seen_is_not_over() -> None:
    world = World(answers={"2.0.0": ERRORS})
    world.phase(Phase.ROLLED_BACK)
    assert of(world).over
    patched(world, "retry")
    assert not of(world).over
