"""What promote, abort, retry, pause and resume change in a Model, or why they do not apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from matte_core.contracts.k8s.rollout import Cause, Phase, RolloutRequest, RolloutSpec, RolloutStatus
from matte_core.domain.phases import TERMINAL

from matte_cli.rollout.state import Rollout, RolloutError

Action = Literal["promote", "abort", "retry", "pause", "resume"]


@dataclass(frozen=True, slots=True)
class Change:
    """A JSON merge patch of a Model, and its effect in words."""

    patch: Mapping[str, Any]
    effect: str


def change_for(action: Action, rollout: Rollout, request_id: str) -> Change:
    """The change that asks for an action; ``request_id`` distinguishes it from earlier ones.

    Raises RolloutError if the action does not apply; the message says why and what does.
    """
    name, spec, status = rollout.model, rollout.spec, rollout.status
    if spec is None:
        raise RolloutError(f"{name} has no spec.rollout: its new versions take over at once, when they are ready")
    if status is None:
        raise RolloutError(f"nothing is known of a rollout of {name} yet: is the operator running?")
    match action:
        case "promote":
            version = _under_way(rollout, status, "promote")
            if status.phase is Phase.PROMOTING:
                raise RolloutError(f"nothing to promote: {version} of {name} is being promoted already")
            early = status.phase not in {Phase.STEPPING, Phase.PAUSED}
            then = "once it has answered the golden images" if early else "now, whatever the analysis says"
            effect = f"{version} of {name} gets all traffic {then}"
        case "abort":
            version = _under_way(rollout, status, "abort")
            back = f"the traffic goes back to {status.stable}" if status.stable else "there is no version to go back to"
            effect = f"{version} of {name} is rolled back: {back}"
        case "retry":
            effect = _retry(rollout, spec, status)
        case "pause":
            if spec.paused:
                raise RolloutError(f"{name} is paused already")
            version = _under_way(rollout, status, "pause")
            effect = f"{version} of {name} stays at its weight; it is rolled back all the same where it fails"
        case "resume":
            effect = _resume(rollout, spec, status)
    if action in {"pause", "resume"}:
        return Change({"spec": {"rollout": {"paused": action == "pause"}}}, effect)
    request = RolloutRequest.model_validate({"action": action, "version": rollout.version, "id": request_id})
    return Change({"spec": {"rollout": {"request": request.model_dump(mode="json")}}}, effect)


def _under_way(rollout: Rollout, status: RolloutStatus, what: str) -> str:
    """The version that is on its way."""
    name = rollout.model
    if status.phase is Phase.ROLLING_BACK:
        raise RolloutError(f"nothing to {what}: {status.canary} of {name} is on its way back ({status.cause})")
    if status.phase is Phase.SUCCEEDED:
        raise RolloutError(f"nothing to {what}: {status.stable} of {name} serves, and no other version is on its way")
    if status.phase in TERMINAL:
        raise RolloutError(
            f"nothing to {what}: {status.canary} of {name} was rolled back ({status.cause}); "
            f"matte rollout retry {name} begins it again"
        )
    if status.canary != rollout.version:
        raise RolloutError(
            f"nothing to {what} yet: the spec asks for {rollout.version} of {name}, the operator is still with "
            f"{status.canary}"
        )
    return rollout.version


def _retry(rollout: Rollout, spec: RolloutSpec, status: RolloutStatus) -> str:
    name, version = rollout.model, rollout.version
    if status.phase is Phase.PAUSED and spec.paused:
        raise RolloutError(f"{name} is paused by its spec: matte rollout resume {name}")
    if status.phase is Phase.PAUSED:
        return f"the step of {version} of {name} at {status.weight} % is tried again"
    failed = status.phase in {Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED}
    if not failed or status.canary != version:
        raise RolloutError(f"nothing to retry: {version} of {name} is {status.phase}, it was not rolled back")
    return f"the rollout of {version} of {name} begins again"


def _resume(rollout: Rollout, spec: RolloutSpec, status: RolloutStatus) -> str:
    if spec.paused:
        return f"the rollout of {rollout.version} of {rollout.model} goes on"
    if status.phase is Phase.PAUSED and status.cause is not Cause.PAUSED:
        raise RolloutError(
            f"{rollout.model} is not paused by its spec; it waits by itself ({status.cause}: {status.message}): "
            f"matte rollout retry {rollout.model} tries the step again, promote skips the analysis"
        )
    raise RolloutError(f"{rollout.model} is not paused")
