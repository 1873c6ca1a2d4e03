"""``matte rollout`` on a real API server: it reads what the operator wrote, and what it asks for is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from integration.operator.conftest import Stage
from matte_cli.main import app
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus
from matte_operator.kinds import MODEL
from rollout_simulation import RolloutSimulation
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.cluster


def matte(stage: Stage, command: str, *more: str) -> Result:
    return CliRunner().invoke(app, ["rollout", command, "portrait", "--namespace", stage.namespace, *more])


def spec(stage: Stage) -> dict[str, Any]:
    body = stage.kube.get(MODEL, "portrait")
    assert body is not None
    found: dict[str, Any] = body["spec"]["rollout"]
    return found


def write_status(stage: Stage, status: RolloutStatus) -> None:
    """As the operator tells it; no operator runs here."""
    stage.kube.apply_status(MODEL, "portrait", {"rollout": status.model_dump(mode="json", exclude_none=True)})


@pytest.fixture
def stepping(stage: Stage) -> RolloutStatus:
    steps = [{"weight": 10, "durationSeconds": 60}, {"weight": 50}]
    stage.kube.delete(MODEL, "portrait")
    stage.put(MODEL, "portrait", family="grabcut", version="2.0.0", rollout={"steps": steps})
    simulation = RolloutSimulation()
    status = simulation.until(lambda decision: len(decision.status.checks) > 0).status
    write_status(stage, status)
    return status


def test_status_of_what_is_there(stage: Stage, stepping: RolloutStatus) -> None:
    found = matte(stage, "status")
    assert found.exit_code == 0, found.stderr
    assert "portrait 1.0.0 → 2.0.0: Stepping" in found.stdout
    document = json.loads(matte(stage, "status", "-o", "json").stdout)
    assert RolloutStatus.model_validate(document["rollout"]) == stepping
    assert "✓ pass" in matte(stage, "history").stdout


def test_what_is_asked_for_reaches_the_spec(stage: Stage, stepping: RolloutStatus) -> None:
    assert stepping.phase is Phase.STEPPING
    dry = matte(stage, "promote", "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    assert "nothing was changed" in dry.stdout
    assert "request" not in spec(stage)
    ids = set()
    for _ in range(2):
        assert matte(stage, "promote").exit_code == 0
        request = spec(stage)["request"]
        assert (request["action"], request["version"]) == ("promote", "2.0.0")
        ids.add(request["id"])
    assert len(ids) == 2, "each time anew"
    assert matte(stage, "pause").exit_code == 0
    assert spec(stage)["paused"] is True
    assert len(spec(stage)["steps"]) == 2, "and nothing else was touched"
    assert matte(stage, "resume").exit_code == 0
    assert spec(stage)["paused"] is False


def test_watch_ends_as_the_rollout_ended(stage: Stage, stepping: RolloutStatus) -> None:
    assert matte(stage, "watch", "--timeout", "1").exit_code == 2
    write_status(stage, stepping.model_copy(update={"phase": Phase.ROLLED_BACK}))
    assert matte(stage, "watch", "--timeout", "5").exit_code == 1
    write_status(stage, RolloutStatus(phase=Phase.SUCCEEDED, stable="2.0.0"))
    assert matte(stage, "watch", "--timeout", "5").exit_code == 0


def test_a_model_that_is_not_there(stage: Stage) -> None:
    found = CliRunner().invoke(app, ["rollout", "status", "nobody", "--namespace", stage.namespace])
    assert found.exit_code == 1
    assert '"nobody" not found' in found.stderr
