"""The page while the default model is being downloaded: who answers, how far it is, why it failed, and the change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from browser.conftest import Stack
from browser.worker import DIGEST, HOUR, MODEL, VERSION
from matte_core.contracts.catalog import Arm, Download, Replica, Route, RouteTable
from matte_jobs.catalog import CatalogStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

REPLICA = "isnet-replica"
ROUTES = tuple(
    Route(model=model, arms=(Arm(version=version, weight=100),))
    for model, version in ((MODEL, VERSION), ("isnet", "1.0.0"))
)


class Inference:
    """Tells the stack what inference would."""

    def __init__(self, redis_url: str) -> None:
        self._settings = StoreSettings(redis_url=redis_url)

    def route(self, default: str, pending: str | None, *routes: Route) -> None:
        table = RouteTable(default_model=default, pending_default_model=pending, routes=routes)
        self._do(lambda catalog: catalog.publish("default", table, time.time()))

    def report(self, done: int, total: int, error: str | None = None) -> None:
        download = Download(done=done, total=total, error=error)
        self._do(lambda catalog: catalog.report_download("default", "isnet", "1.0.0", download))

    def load(self) -> None:
        replica = Replica(
            id=REPLICA, model="isnet", version="1.0.0", family="onnx", digest=DIGEST, license="Apache-2.0", slots=2,
            expires_at=time.time() + HOUR,
        )  # fmt: skip
        self._do(lambda catalog: catalog.announce_replica(replica, new=True))

    def reset(self) -> None:
        self.route(MODEL, None, ROUTES[0])
        self._do(lambda catalog: catalog.withdraw_replica(REPLICA))
        self._do(lambda catalog: catalog.clear_download("default", "isnet", "1.0.0"))

    def _do(self, work: Callable[[CatalogStore], Awaitable[None]]) -> None:
        async def connected() -> None:
            store = JobStore.open(self._settings)
            try:
                await work(CatalogStore(store))
            finally:
                await store.close()

        with ThreadPoolExecutor(1) as threads:  # Playwright has a loop in this one
            threads.submit(lambda: asyncio.run(connected())).result()


@pytest.fixture
def inference(stack: Stack) -> Iterator[Inference]:
    """It has begun to download the default model."""
    if not stack.environment:
        pytest.skip("the stack of MATTE_TEST_URL downloads nothing now")
    started = Inference(stack.environment["MATTE_REDIS_URL"])
    started.report(0, 0)
    started.route(MODEL, "isnet", *ROUTES)
    time.sleep(1.5)  # the frontend reads the catalog once a second
    yield started
    started.reset()
    time.sleep(1.5)


def test_a_download_is_followed_until_the_model_answers(inference: Inference, page: Page) -> None:
    text, bar = page.locator("#pending-text"), page.locator("#pending-progress")
    expect(text).to_have_text("grabcut answers while isnet is being downloaded.")
    expect(page.locator("#announcer")).to_have_text("grabcut answers while isnet is being downloaded.")
    expect(bar).not_to_have_attribute("value", "0")
    inference.report(43_200_000, 88_188_479)
    expect(text).to_have_text("grabcut answers while isnet is being downloaded (43 of 88 MB).")
    assert float(bar.get_attribute("value") or 0) == pytest.approx(0.49, abs=0.001)
    expect(page.locator("#model option")).to_have_text(["grabcut", "isnet (downloading)"])
    expect(page.locator("#model")).to_have_value("grabcut")
    # a step is announced, its bytes are not
    expect(page.locator("#announcer")).to_have_text("grabcut answers while isnet is being downloaded.")
    inference.report(88_188_479, 88_188_479)
    expect(text).to_have_text("grabcut answers while isnet is being loaded.")
    inference.load()
    inference.route("isnet", None, *ROUTES)
    expect(text).to_have_text("isnet is ready and answers from now on.")
    expect(page.locator("#announcer")).to_have_text("isnet is ready and answers from now on.")
    expect(bar).to_be_hidden()
    expect(page.locator("#model")).to_have_value("isnet")
    expect(page.locator("#pending")).to_be_hidden(timeout=20_000)


def test_a_model_that_was_chosen_stays_chosen(inference: Inference, page: Page) -> None:
    page.select_option("#model", "grabcut")
    inference.load()
    inference.route("isnet", None, *ROUTES)
    expect(page.locator("#pending-text")).to_have_text("isnet is ready and answers from now on.")
    expect(page.locator("#model")).to_have_value("grabcut")


def test_a_failure_names_its_reason_and_its_fix(inference: Inference, page: Page) -> None:
    error = "SourceUnavailable: catalog://isnet@1.0.0 cannot be reached. Connect this machine to the network"
    inference.report(43_000_000, 88_188_479, error)
    pending = page.locator("#pending")
    expect(pending).to_have_text(f"grabcut answers, because isnet is not available. {error}")
    expect(page.locator("#pending-progress")).to_be_hidden()
    expect(page.locator("#model option")).to_have_text(["grabcut", "isnet (failed)"])
    expect(page.locator("#announcer")).to_contain_text("Connect this machine to the network")
    inference.report(43_500_000, 88_188_479)  # it was tried again
    expect(pending).to_have_text("grabcut answers while isnet is being downloaded (44 of 88 MB).", timeout=30_000)
