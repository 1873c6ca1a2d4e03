"""The rollout report as one HTML file that fetches nothing. Pure, but for reading its template once."""

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

from matte_frontend.rollouts.summary import RolloutReport, shorten_job_ids

_FOLDER = Path(__file__).parent
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with its masks: (caption, data URL) each; a URL is '' where the bytes are no JPEG or PNG."""

    name: str
    at: float
    stable: str
    agreement: Agreement
    images: tuple[tuple[str, str], ...]

    @classmethod
    def from_comparison(cls, shown: MaskComparison, version: str) -> Row:
        images = (
            ("picture", shown.picture),
            (f"stable {shown.stable}", shown.stable_mask),
            (f"new {version}", shown.canary_mask),
            ("difference", shown.difference),
        )
        urls = tuple((caption, data_url(text)) for caption, text in images)
        return cls(shorten_job_ids(shown.name), shown.at, shown.stable, shown.agreement, urls)


def render_page(report: RolloutReport, shown: Sequence[MaskComparison]) -> str:
    """The whole file; the newest picture comes first."""
    rows = [Row.from_comparison(entry, report.version) for entry in reversed(shown)]
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


def format_seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


_templates = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.filters |= {"when": format_time, "seconds": format_seconds}
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
