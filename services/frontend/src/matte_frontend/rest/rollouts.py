"""``/v1/rollouts``: evidence of a version's rollout. Served only where the settings say so."""

from __future__ import annotations

import asyncio

from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from matte_frontend.pages import SECURITY_HEADERS
from matte_frontend.problems import reject_unknown_query
from matte_frontend.responses import JSON
from matte_frontend.rollouts.report import CSP, Evidence, RolloutReport, compared_with, render_page, summarize
from matte_frontend.state import app_state

_PRIVATE = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
_MAX_VERSION_LENGTH = 64


async def numbers(request: Request) -> Response:
    """``GET /v1/rollouts/{model}/{version}``: counts and agreement, without pictures."""
    report, _ = await _read(request)
    return Response(report.model_dump_json(), media_type=JSON, headers=_PRIVATE)


async def report_page(request: Request) -> Response:
    """``GET /v1/rollouts/{model}/{version}/report``: one HTML file, with the pictures whose masks differ."""
    report, evidence = await _read(request)
    text = await asyncio.to_thread(render_page, report, evidence.shown)
    return HTMLResponse(text, headers=_PRIVATE | SECURITY_HEADERS | {"Content-Security-Policy": CSP})


async def _read(request: Request) -> tuple[RolloutReport, Evidence]:
    reject_unknown_query(request)
    app = app_state(request)
    if not app.settings.rollout_reports:
        raise Problem(
            "not_found",
            "Reports of rollouts are off: they show pictures that people sent, to whoever reaches this frontend. "
            "MATTE_ROLLOUT_REPORTS=true on a frontend switches them on.",
        )
    model, version = request.path_params["model"], request.path_params["version"]
    route = await app.catalog.route(model)
    known = [arm.version for arm in route.arms]
    store = EvidenceStore(app.store)
    evidence, stable = Evidence(), None
    if len(version) <= _MAX_VERSION_LENGTH:
        shown = await store.comparisons(model, version)
        stable = compared_with(version, route, shown)
        answers = await store.answers(model, version, 0)
        since = answers[0].at if answers else None
        evidence = Evidence(
            await store.start_reports(model, version), answers,
            await store.answers(model, stable, since) if stable and since is not None else (),
            await store.pairs(model, version, 0), shown,
        )  # fmt: skip
    if version not in known and not (evidence.starts or evidence.answers or evidence.pairs or evidence.shown):
        raise Problem(
            "version_not_found", f"Nothing is known of {model} {version}. There is: {', '.join(known)}.",
            model=model, versions=known,
        )  # fmt: skip
    return summarize(model, version, stable, evidence), evidence
