"""The report of a rollout: its numbers, and a page that lets nothing in."""

from __future__ import annotations

import base64
import re

import pytest
from matte_core.contracts.catalog import Arm, Route
from matte_core.contracts.evidence import (
    Agreement,
    AnswerSample,
    GoldenResult,
    MaskComparison,
    MirroredPair,
    StartReport,
)
from matte_frontend.openapi_examples import PICTURE_B64
from matte_frontend.rollouts.report import (
    CSP,
    Answers,
    Evidence,
    RolloutReport,
    compared_with,
    data_url,
    render_page,
    shorten_job_ids,
    summarize,
)

JOB = "5b0c1d5e6f7a4b8c9d0e1f2a3b4c5d6e"
APART = Agreement(iou=0.5, boundary=0.25, alpha_difference=0.125)
SAME = Agreement(iou=1, boundary=1, alpha_difference=0)


def shown(name: str = JOB, **more: str) -> MaskComparison:
    pictures = dict.fromkeys(("picture", "stable_mask", "canary_mask", "difference"), PICTURE_B64)
    return MaskComparison.model_validate(
        {"at": 5.0, "name": name, "stable": "1.0.0", "agreement": APART} | pictures | more
    )


def evidence(*pictures: MaskComparison) -> Evidence:
    golden = (
        GoldenResult(name="cat", agreements={"1.0.0": SAME, "0.9.0": APART}),
        GoldenResult(name="cup", bad_mask="empty mask"),
    )
    return Evidence(
        starts=[StartReport(replica="r1", at=1.0, digest="sha256:0", golden=golden)],
        answers=[
            AnswerSample(
                at=i,
                seconds=i / 100,
                error=i == 100,
                bad_mask=i in (7, 8),
                no_subject=i == 7,
                uncertainty=None if i == 100 else i / 100,
            )
            for i in range(1, 101)
        ],
        stable_answers=[AnswerSample(at=2.0, seconds=1.5)],
        pairs=[MirroredPair(at=3.0, job=JOB, agreement=APART), MirroredPair(at=4.0, job=JOB, agreement=SAME)],
        shown=pictures,
    )


def report(*pictures: MaskComparison) -> RolloutReport:
    return summarize("portrait", "2.0.0", "1.0.0", evidence(*pictures))


def test_numbers() -> None:
    found = report(shown())
    assert found.answers == Answers(
        total=100, errors=1, bad_masks=2, no_subjects=1, uncertainty=0.5, p50_seconds=0.5,
        p95_seconds=0.95,
    )  # fmt: skip
    assert found.stable_answers.p95_seconds == 1.5
    assert found.agreement == Agreement(iou=0.75, boundary=0.625, alpha_difference=0.0625)
    assert Answers.count([]) == Answers(
        total=0, errors=0, bad_masks=0, no_subjects=0, uncertainty=None, p50_seconds=None, p95_seconds=None
    )


def test_no_job_s_id_is_shown_whole() -> None:
    assert (shorten_job_ids(JOB), shorten_job_ids(f"job {JOB}"), shorten_job_ids("cat")) == (
        "5b0c1d5e…",
        "job 5b0c1d5e…",
        "cat",
    )
    found = report(shown())
    assert JOB not in found.model_dump_json()
    assert JOB not in render_page(found, [shown()])


def test_numbers_have_no_pictures() -> None:
    assert PICTURE_B64 not in report(shown()).model_dump_json()


def test_what_it_is_compared_with() -> None:
    arms = {"1.0.0": 70, "1.1.0": 20, "2.0.0": 10}
    route = Route(model="m", arms=tuple(Arm(version=version, weight=weight) for version, weight in arms.items()))
    assert compared_with("2.0.0", route, []) == "1.0.0"
    assert compared_with("2.0.0", route, [shown(stable="0.9.0")]) == "0.9.0"
    alone = Route(model="m", arms=(Arm(version="2.0.0", weight=100),))
    assert compared_with("2.0.0", alone, []) is None


@pytest.mark.parametrize(
    "text", ["", "x", "javascript:alert(1)", base64.b64encode(b"<svg onload=alert(1)>").decode(), '"><script>']
)
def test_only_jpeg_and_png_are_embedded(text: str) -> None:
    assert data_url(text) == ""
    assert "<script" not in render_page(report(), [shown(picture=text)])
    assert "no picture" in render_page(report(), [shown(picture=text)])


def test_names_are_escaped() -> None:
    text = render_page(report(), [shown('<img src=x onerror="alert(1)">')])
    assert "&lt;img src=x" in text
    assert "<img src=x" not in text


def test_the_page_has_everything_and_fetches_nothing() -> None:
    text = render_page(report(shown()), [shown("older"), shown("newer")])
    assert text.index("newer") < text.index("older"), "the newest comes first"
    assert text.count("data:image/png;base64,") == 8
    assert {found[:5] for found in re.findall(r'(?:src|href)="([^"]*)', text)} == {"data:"}
    for word in (
        "portrait",
        "2.0.0",
        "1.0.0",
        "2 (2.0 %)",
        "1 (1.0 %)",
        "0.500",
        "0.750",
        "cat",
        "empty mask",
        "950 ms",
    ):
        assert word in text
    assert "style=" not in text.replace("style-src", "")
    assert CSP.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "script-src" not in CSP


def test_a_page_before_anything_happened() -> None:
    text = render_page(summarize("portrait", "2.0.0", None, Evidence()), [])
    assert text.count('class="none"') == 4
    assert "There is no other version" in text
