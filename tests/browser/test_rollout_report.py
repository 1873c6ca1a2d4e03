"""The report of a rollout as people see it: real evidence, a real browser, and a policy that lets nothing in."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browser.conftest import Stack, wait_for
from integration.frontend import rollout_evidence
from matte_jobs.settings import StoreSettings
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
PATH = f"v1/rollouts/grabcut/{rollout_evidence.CANARY}/report"
NATURAL = "images => images.map(i => i.complete ? i.naturalWidth : 0)"


@pytest.fixture(scope="module")
def evidence(stack: Stack) -> Stack:
    if stack.frontend is None:
        pytest.skip("the stack of MATTE_TEST_URL has no evidence")
    settings = StoreSettings(redis_url=stack.environment["MATTE_REDIS_URL"])
    with ThreadPoolExecutor() as apart:  # Playwright's loop runs in this thread
        apart.submit(lambda: asyncio.run(rollout_evidence.write(settings, "grabcut"))).result()
    wait_for(f"{stack.url}models/grabcut")
    return stack


@pytest.mark.parametrize(("width", "columns"), [(1280, 4), (400, 2)])
def test_the_page_shows_every_picture(
    evidence: Stack, browser: Browser, tmp_path: Path, width: int, columns: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    answer = page.goto(evidence.url + PATH)
    assert answer is not None
    assert answer.status == 200
    assert page.title() == f"grabcut {rollout_evidence.CANARY}: rollout"
    pictures = page.eval_on_selector_all("article img", NATURAL)
    assert len(pictures) == 12
    assert min(pictures) > 100
    grid = "article .row"
    style = "element => getComputedStyle(element).gridTemplateColumns.split(' ').length"
    assert page.eval_on_selector(grid, style) == columns, "the policy lets the page's own style in"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    assert wrong == [evidence.url + PATH]
    page.screenshot(path=os.environ.get("MATTE_TEST_SHOT", tmp_path / "report.png"), full_page=True)
    context.close()
