"""The report as one HTML file that fetches nothing: pure but for reading its template once."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matte_core.contracts.evidence import Agreement, MaskComparison

from matte_frontend.rollouts.summary import RolloutReport, label

_FOLDER = Path(__file__).parent
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with its masks; an address is '' where the bytes are no JPEG or PNG."""

    name: str
    at: float
    stable: str
    agreement: Agreement
    images: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, shown: MaskComparison, version: str) -> Row:
        """A picture as the page shows it."""
        images = (
            ("picture", shown.picture),
            (f"stable {shown.stable}", shown.stable_mask),
            (f"new {version}", shown.canary_mask),
            ("difference", shown.difference),
        )
        addressed = tuple((caption, data_url(text)) for caption, text in images)
        return cls(label(shown.name), shown.at, shown.stable, shown.agreement, addressed)


def page(report: RolloutReport, shown: Sequence[MaskComparison]) -> str:
    """The whole file; the newest picture comes first."""
    rows = [Row.of(entry, report.version) for entry in reversed(shown)]
    return _template.render(report=report, rows=rows, golden=golden(report), policy=_POLICY)


def golden(report: RolloutReport) -> list[tuple[str, Agreement]]:
    """How far the golden images' masks agree with stable's, as the last replica that started saw it."""
    results = report.starts[-1].golden if report.starts else ()
    beside = report.stable or ""
    return [(result.name, result.agreements[beside]) for result in results if beside in result.agreements]


def data_url(text: str) -> str:
    """A picture in base64 as an address that a page may show; '' where it is none."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}" if kind else ""


def when(at: float) -> str:
    """A time as people read it, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def share(part: int, whole: int) -> str:
    """A count with its share: 3 (1.5 %)."""
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "–"


def seconds(value: float | None) -> str:
    """A duration, exact enough to compare."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"when": when, "seconds": seconds}
    found.globals |= {"share": share}
    return found


_templates = _environment()
_template = _templates.get_template("report.html")
_STYLE = hashlib.sha256(_templates.get_template("report.css").render().encode()).digest()
#: the style is named by its digest, pictures are in the page; nothing else is let in, and nothing out
_POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{base64.b64encode(_STYLE).decode()}'; base-uri 'none'; "
    "form-action 'none'"
)
#: a saved file has the policy too; only a header can keep others from framing it
CSP = f"{_POLICY}; frame-ancestors 'none'; sandbox"
