"""``/docs``: the description of the interface, shown by Swagger UI within our policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_the_interface_is_shown_and_tried(page: Page) -> None:
    """The fixture fails on what the CSP blocks, and on what is asked of another host."""
    page.get_by_role("link", name="API", exact=True).click()
    page.wait_for_selector(".info .title")
    expect(page.locator(".opblock").filter(has_text="/v1/jobs/{id}/result")).to_be_visible()
    expect(page.locator(".errors-wrapper")).to_have_count(0)
    about = page.locator("#operations-default-version")
    about.locator(".opblock-summary-control").click()
    about.get_by_role("button", name="Try it out").click()
    about.get_by_role("button", name="Execute").click()
    expect(about.locator(".live-responses-table")).to_contain_text('"version": "0.1.0"')
    expect(about.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    predict = page.locator("#operations-predict-predict")
    predict.locator(".opblock-summary-control").click()
    predict.get_by_role("button", name="Try it out").click()
    expect(predict.get_by_placeholder("Idempotency-Key")).to_have_value("")  # examples are shown, not sent
