"""``/v1/rollouts``: what a version's rollout has shown. Served only where the settings say so."""

from __future__ import annotations

import asyncio

from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from matte_frontend.frontend import Frontend, frontend_of
from matte_frontend.pages import SAFE
from matte_frontend.rest.query import only
from matte_frontend.rollouts.page import CSP, page
from matte_frontend.rollouts.summary import Evidence, RolloutReport, compared_with, summary

_SECRET = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
_VERSION_MAX = 64


async def numbers(request: Request) -> Response:
    """``GET /v1/rollouts/{model}/{version}``: counts and agreement, without pictures."""
    report, _ = await _found(request)
    return Response(report.model_dump_json(), media_type="application/json", headers=_SECRET)


async def report_page(request: Request) -> Response:
    """``GET /v1/rollouts/{model}/{version}/report``: one HTML file, with the pictures whose masks differ."""
    report, evidence = await _found(request)
    text = await asyncio.to_thread(page, report, evidence.shown)
    return HTMLResponse(text, headers=_SECRET | SAFE | {"Content-Security-Policy": CSP})


async def _found(request: Request) -> tuple[RolloutReport, Evidence]:
    only(request)
    frontend = frontend_of(request)
    if not frontend.settings.rollout_reports:
        raise Problem(
            "not_found",
            "Reports of rollouts are off: they show pictures that people sent, to whoever reaches this frontend. "
            "MATTE_ROLLOUT_REPORTS=true on a frontend switches them on.",
        )
    return await _read(frontend, request.path_params["model"], request.path_params["version"])


async def _read(frontend: Frontend, model: str, version: str) -> tuple[RolloutReport, Evidence]:
    route = await frontend.catalog.route(model)
    known = [arm.version for arm in route.arms]
    store = EvidenceStore(frontend.store)
    evidence, stable = Evidence(), None
    if len(version) <= _VERSION_MAX:
        shown = await store.comparisons(model, version)
        stable = compared_with(version, route, shown)
        answers = await store.answers(model, version, 0)
        since = answers[0].at if answers else None
        evidence = Evidence(
            await store.start_reports(model, version), answers,
            await store.answers(model, stable, since) if stable and since is not None else (),
            await store.pairs(model, version, 0), shown,
        )  # fmt: skip
    if evidence.empty and version not in known:
        raise Problem(
            "version_not_found", f"Nothing is known of {model} {version}. There is: {', '.join(known)}.",
            model=model, versions=known,
        )  # fmt: skip
    return summary(model, version, stable, evidence), evidence
