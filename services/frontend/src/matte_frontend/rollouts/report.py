"""A rollout's evidence as numbers, and as one HTML file that fetches nothing. Pure, but for reading its template."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Route
from matte_core.contracts.evidence import Agreement, AnswerSample, MaskComparison, MirroredPair, StartReport
from pydantic import Field

_FOLDER = Path(__file__).parent
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
#: a job's id gives access to its picture, so none is shown whole
_JOB = re.compile(r"([0-9a-f]{8})[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything recorded about a version, and stable's answers since the version's first one."""

    starts: Sequence[StartReport] = ()
    answers: Sequence[AnswerSample] = ()
    stable_answers: Sequence[AnswerSample] = ()
    pairs: Sequence[MirroredPair] = ()
    shown: Sequence[MaskComparison] = ()


class Answers(Contract):
    """A version's answers to unpinned jobs. Seconds are its own work; None: no answer without an error."""

    total: int = Field(description="errors included")
    errors: int
    bad_masks: int = Field(description="empty or full ones")
    no_subjects: int = Field(description="answers in which no subject was found")
    uncertainty: float | None = Field(description="mean of the answers that have one; None: none has")
    p50_seconds: float | None
    p95_seconds: float | None

    @classmethod
    def count(cls, answers: Sequence[AnswerSample]) -> Answers:
        uncertainties = [answer.uncertainty for answer in answers if answer.uncertainty is not None]
        good = sorted(answer.seconds for answer in answers if not answer.error)
        return cls(
            total=len(answers), errors=len(answers) - len(good), bad_masks=sum(answer.bad_mask for answer in answers),
            no_subjects=sum(answer.no_subject for answer in answers),
            uncertainty=fmean(uncertainties) if uncertainties else None,
            p50_seconds=_percentile(good, 0.5), p95_seconds=_percentile(good, 0.95),
        )  # fmt: skip


class Difference(Contract):
    """A picture whose masks differ, without the picture."""

    at: float
    name: str
    stable: str
    agreement: Agreement


class RolloutReport(Contract):
    """The body of ``GET /v1/rollouts/{model}/{version}``. The verdict is the operator's, in the Model's status."""

    model: str
    version: str
    stable: str | None = Field(description="what it is compared with")
    starts: tuple[StartReport, ...] = Field(description="replicas that loaded it and answered the golden images")
    answers: Answers
    stable_answers: Answers = Field(description="since the version's first answer")
    pairs: int = Field(description="mirrored jobs that both computed")
    agreement: Agreement | None = Field(description="mean over the pairs; None without one")
    shown: tuple[Difference, ...] = Field(description="the newest whose masks differ, oldest first")


def summarize(model: str, version: str, stable: str | None, evidence: Evidence) -> RolloutReport:
    pairs = [pair.agreement for pair in evidence.pairs]
    mean = Agreement(
        iou=fmean(pair.iou for pair in pairs), boundary=fmean(pair.boundary for pair in pairs),
        alpha_difference=fmean(pair.alpha_difference for pair in pairs),
    ) if pairs else None  # fmt: skip
    return RolloutReport(
        model=model, version=version, stable=stable, starts=tuple(evidence.starts),
        answers=Answers.count(evidence.answers), stable_answers=Answers.count(evidence.stable_answers),
        pairs=len(pairs), agreement=mean,
        shown=tuple(
            Difference(at=shown.at, name=shorten_job_ids(shown.name), stable=shown.stable, agreement=shown.agreement)
            for shown in evidence.shown
        ),
    )  # fmt: skip


def compared_with(version: str, route: Route, shown: Iterable[MaskComparison]) -> str | None:
    """The version it was last compared with, else the one with the most traffic; None where it is alone."""
    stables = [entry.stable for entry in shown]
    others = sorted((arm for arm in route.arms if arm.version != version), key=lambda arm: arm.weight)
    return stables[-1] if stables else others[-1].version if others else None


def shorten_job_ids(name: str) -> str:
    """A picture's name with only the first digits of a job's id."""
    return _JOB.sub(r"\1…", name)


def _percentile(ordered: Sequence[float], q: float) -> float | None:
    return ordered[math.ceil(q * len(ordered)) - 1] if ordered else None


def render_page(report: RolloutReport, shown: Sequence[MaskComparison]) -> str:
    """The whole file; the newest picture comes first."""
    rows = [
        {
            "name": shorten_job_ids(entry.name), "at": entry.at, "stable": entry.stable, "agreement": entry.agreement,
            "images": (
                ("picture", data_url(entry.picture)), (f"stable {entry.stable}", data_url(entry.stable_mask)),
                (f"new {report.version}", data_url(entry.canary_mask)), ("difference", data_url(entry.difference)),
            ),
        }
        for entry in reversed(shown)
    ]  # fmt: skip
    # the golden images' agreement with stable's masks, as the replica that started last measured it
    results, stable = report.starts[-1].golden if report.starts else (), report.stable or ""
    golden = [(result.name, result.agreements[stable]) for result in results if stable in result.agreements]
    return _template.render(report=report, rows=rows, golden=golden, policy=_POLICY)


def data_url(text: str) -> str:
    """A picture in base64 as a ``data:`` URL; '' where it is no JPEG or PNG."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    media_type = next((media_type for magic, media_type in _MAGIC.items() if data.startswith(magic)), "")
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}" if media_type else ""


def format_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_share(part: int, whole: int) -> str:
    """A count with its share: 3 (1.5 %)."""
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "–"


def format_uncertainty(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def format_seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


_templates = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.filters |= {"when": format_time, "seconds": format_seconds, "uncertainty": format_uncertainty}
_templates.globals |= {"share": format_share}
_template = _templates.get_template("report.html")
_STYLE = hashlib.sha256(_templates.get_template("report.css").render().encode()).digest()
#: the style is named by its digest, pictures are in the page; nothing else is loaded, and nothing is sent
_POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{base64.b64encode(_STYLE).decode()}'; base-uri 'none'; "
    "form-action 'none'"
)
#: a saved file has the policy too; only a header can keep others from framing it
CSP = f"{_POLICY}; frame-ancestors 'none'; sandbox"
