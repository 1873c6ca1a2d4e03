"""``matte rollout status`` and ``history``: what people read, of rollouts that ``decide`` itself made."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from matte_cli.rollout import view
from matte_cli.rollout.state import Rollout
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus
from rich.console import Console, RenderableType
from rollout_simulation import ERRORS, FEW, RolloutSimulation, wanted


def text(thing: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shown(simulation: RolloutSimulation) -> str:
    rollout = Rollout("portrait", simulation.spec.version, simulation.spec.rollout, simulation.status)
    return text(view.summary(rollout, simulation.now))


def test_stepping() -> None:
    simulation = RolloutSimulation()
    simulation.until(lambda decision: len(decision.status.checks) > 0)
    found = shown(simulation)
    first, *rest = found.splitlines()
    assert first.startswith("portrait 1.0.0 → 2.0.0: Stepping, ")
    assert "▸ 10 % (" in found
    assert "of 60 s, at least 100 answers)" in found
    assert "· 50 %" in found
    bars = [line for line in rest if "█" in line]
    assert [line.split()[0] for line in bars] == ["1.0.0", "2.0.0"]
    assert [line.count("█") for line in bars] == [29, 3]
    assert "90 %" in bars[0]
    assert "10 %" in bars[1]
    assert "last check" in found
    assert "at 10 %: ✓ pass" in found
    (errors,) = (line for line in rest if line.startswith("errors"))
    assert errors.split()[1:5] == ["✓", "pass", "0.00", "%"]
    (latency,) = (line for line in rest if line.startswith("latency"))
    assert " 105 ms" in latency
    assert " 400 " in latency


def test_the_second_step() -> None:
    simulation = RolloutSimulation()
    simulation.until(lambda decision: decision.status.step == 1 and decision.status.step_started_at is not None)
    found = shown(simulation)
    assert "✓ 10 %" in found
    assert "▸ 50 % (" in found


def test_rolled_back_says_why() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": ERRORS})
    simulation.phase(Phase.ROLLED_BACK)
    found = shown(simulation)
    assert "RolledBack (AnalysisFailed)" in found
    assert "errors: 20 of 400 against 0 of 400" in found
    assert "✗ 10 %  · 50 %" in found
    assert "✗ fail" in found
    assert simulation.status is not None
    rendered = text(view.history(simulation.status.checks))
    assert "✗ fail" in rendered
    assert "errors: 20 of 400" in rendered


def test_paused_by_itself() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": FEW})
    simulation.phase(Phase.PAUSED)
    found = shown(simulation)
    assert "Paused (Inconclusive)" in found
    assert "? unsure" in found
    assert "too few samples: 10 of the new version" in found


def test_paused_by_the_spec() -> None:
    simulation = RolloutSimulation(spec=wanted(paused=True))
    simulation.phase(Phase.STARTING)
    assert "the spec says paused" in shown(simulation)
    simulation.phase(Phase.PAUSED)
    found = shown(simulation)
    assert "Paused (PausedBySpec)" in found
    assert "the spec says paused" not in found


def test_from_the_start_to_the_end() -> None:
    simulation = RolloutSimulation()
    simulation.phase(Phase.STARTING)
    found = shown(simulation)
    assert "portrait 1.0.0 → 2.0.0: Starting" in found
    assert "· 10 %" in found
    assert "▸" not in found
    simulation.phase(Phase.PROMOTING)
    assert "✓ 10 %  ✓ 50 %  ▸ 100 %" in shown(simulation)
    simulation.phase(Phase.SUCCEEDED)
    found = shown(simulation)
    assert "portrait 2.0.0: Succeeded" in found
    assert "steps" not in found
    simulation.status = None
    assert "nothing is known of a rollout yet" in shown(simulation)


def test_a_version_that_the_operator_has_not_seen() -> None:
    simulation = RolloutSimulation()
    assert "the spec asks for 2.0.0; the operator has not begun with it" in shown(simulation)


@pytest.mark.parametrize(("share", "full"), [(0, 0), (1, 1), (50, 16), (99, 31), (100, 32)])
def test_bars_show_the_least_and_are_full_only_with_everything(share: int, full: int) -> None:
    assert view.bar(share).count("█") == full


def test_markup_in_messages_is_text() -> None:
    status = RolloutStatus(phase=Phase.ROLLED_BACK, stable="1.0.0", canary="2.0.0", message="[/red] [bold]x")
    simulation = RolloutSimulation(status=status)
    assert "[/red] [bold]x" in shown(simulation)
    assert "[/red] [bold]x" in text(view.stories([("2.0.0", status)]))


def test_a_line_for_logs() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": ERRORS})
    simulation.phase(Phase.STEPPING)
    simulation.now += timedelta(seconds=1)
    assert simulation.status is not None
    rollout = Rollout("portrait", "2.0.0", simulation.spec.rollout, simulation.status)
    assert view.line(rollout, simulation.status).startswith("portrait 2.0.0: Stepping at ")


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [("errors", 0.0512, "5.12 %"), ("latency", 0.25, "250 ms"), ("latency", 2.5, "2.50 s"), ("gpu", 71.25, "71.25"),
     ("foreground", 0.0125, "1.25 %"), ("uncertainty", 0.07118, "0.071"),
     ("agreement", 0.031, "3.10 % differ"), ("agreement", None, "–")],
)  # fmt: skip
def test_numbers_have_their_units(metric: str, value: float | None, said: str) -> None:
    assert view.number(metric, value) == said
