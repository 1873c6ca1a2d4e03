from __future__ import annotations

from pathlib import Path

import pytest
from matte_cli.client import failure_of
from matte_cli.cut import Board
from matte_cli.jobs import lines
from matte_cli.messages import FIXES, describe, explain, seconds, share
from matte_cli.outputs import Item
from matte_core.contracts.job import Event, JobState, JobView
from matte_core.errors import CODES, Problem
from rich.progress import Progress


def event(kind: str, **data: object) -> Event:
    return Event.model_validate({"id": "1-0", "type": kind, "at": 0.0, "data": data})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (event("queued", position=3, queue_length=4), "3 ahead"),
        (event("position", position=0, eta_seconds=12.3), "next, 12 s left"),
        (event("position", position=None), "waiting"),
        (event("started", version="2.0.0"), "cutting out (2.0.0)"),
        (event("progress", stage="forward", fraction=0.5), "forward 50%"),
        (event("retrying", attempt=2), "attempt 2 failed, trying again"),
        (event("preview", width=10), None),
        (event("finished", state="succeeded"), "done"),
    ],
)
def test_describe(found: Event, said: str | None) -> None:
    assert describe(found) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.6, "60 s"), (300, "5 min"), (7200, "2 h")]
)
def test_seconds(value: float, said: str) -> None:
    assert seconds(value) == said


def test_fixes_are_of_codes_that_exist() -> None:
    assert FIXES.keys() <= CODES.keys()


def test_explain_says_what_is_wrong_once_and_what_to_do() -> None:
    text = explain(Problem("model_not_found", "There is no model x."))
    assert text == "There is no model x. → see matte models"
    assert explain(Problem("queue_full", "")).startswith("The queue is full")


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("crop_margin needs crop=true", "--crop-margin needs --crop"),
        ("bg_color: not a color; size: no", "--bg-color: not a color; --size: no"),
        ("channels=alpha and output=both contradict", "--channels alpha and --output both contradict"),
        ("The format of the output is odd.", "The format of the output is odd."),
    ],
)
def test_parameters_of_the_api_are_the_commands_options(detail: str, said: str) -> None:
    assert explain(Problem("invalid_parameter", detail)) == said


def test_why_a_job_failed() -> None:
    view = JobView(id="a", state=JobState.SUCCEEDED, model="m", created_at=0)
    assert failure_of(view) is None
    for state, code in [(JobState.CANCELED, "job_canceled"), (JobState.DEAD, "attempts_exhausted")]:
        problem = failure_of(view.model_copy(update={"state": state}))
        assert problem is not None
        assert problem.code == code
    document = Problem("out_of_memory", "too big").document()
    problem = failure_of(view.model_copy(update={"state": JobState.FAILED, "error": document}))
    assert problem is not None
    assert (problem.code, problem.detail) == ("out_of_memory", "too big")


def test_a_job_in_words() -> None:
    view = JobView(id="a", state=JobState.QUEUED, model="m", created_at=5.0, position=2, eta_seconds=4.0)
    assert lines(view) == ["a: queued", "model m (version not chosen yet)", "2 ahead, 4.0 s left", "attempts: 0"]


def test_the_bar_moves_with_progress_and_starts_anew_with_a_retry() -> None:
    board = Board(Progress(disable=True), 1)
    line = board.open(Item(Path("a.jpg"), Path("a.png")))
    task = board._progress.tasks[1]
    seen = []
    for view in (
        event("queued", position=0), event("started"), event("progress", stage="forward", fraction=0.4),
        event("progress", stage="encode"), event("retrying", attempt=1), event("finished"),
    ):  # fmt: skip
        board.update(line, "", share(view))
        seen.append(task.completed)
    assert seen == [0, 0, 0.4, 0.4, 0, 1]
