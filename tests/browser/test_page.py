"""The page in a real browser, against a real frontend, Redis and worker."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from browser.conftest import Stack
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

DROP = """([name, type, b64]) => {
  const bytes = Uint8Array.from(atob(b64), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type}));
  const target = document.body;
  target.dispatchEvent(new DragEvent("dragenter", {dataTransfer: transfer, bubbles: true}));
  target.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""
PASTE = """([name, type, b64]) => {
  const bytes = Uint8Array.from(atob(b64), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type}));
  document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true}));
}"""


def downloaded(page: Page, selector: str = "#download") -> tuple[str, Image.Image]:
    with page.expect_download() as waiting:
        page.click(selector)
    with Image.open(waiting.value.path()) as image:
        image.load()
        return waiting.value.suggested_filename, image


def js_file(photo: Path) -> list[str]:
    return [photo.name, "image/jpeg", base64.b64encode(photo.read_bytes()).decode()]


def submissions(page: Page) -> list[str]:
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
    return sent


def test_a_photo_is_cut_out_and_downloaded(page: Page, photos: Path) -> None:
    page.set_input_files("#files", photos / "astronaut.jpg")
    expect(page.locator("#result-title")).to_have_text("Cut-out ready")
    name, image = downloaded(page)
    assert name == "astronaut-cutout.png"
    assert (image.size, image.mode) == ((512, 512), "RGBA")
    share = float((np.asarray(image)[..., 3] > 127).mean())
    assert 0.1 < share < 0.9
    expect(page.locator("#announcer")).to_have_text("The result is ready.")
    expect(page.locator("#result-advice")).to_be_hidden()


@pytest.mark.parametrize(
    ("name", "title", "advice"),
    [
        ("blank.jpg", "No subject found", "Try a picture with a clear subject, or another model."),
        ("blurred.jpg", "Cut-out ready", "The edges are uncertain here: try a sharper or larger picture"),
    ],
)
def test_it_says_what_to_look_out_for(page: Page, photos: Path, name: str, title: str, advice: str) -> None:
    page.set_input_files("#files", photos / name)
    expect(page.locator("#result-title")).to_have_text(title, timeout=20_000)
    expect(page.locator("#result-advice")).to_contain_text(advice)
    expect(page.locator("#announcer")).to_contain_text(title)
    page.reload()
    expect(page.locator("#result-advice")).to_contain_text(advice)
    page.set_input_files("#files", photos / "astronaut.jpg")
    expect(page.locator("#result-title")).to_have_text("Cut-out ready")
    expect(page.locator("#result-advice")).to_be_hidden()


def test_the_slider_moves_by_keyboard_and_pointer(page: Page, photos: Path) -> None:
    page.set_input_files("#files", photos / "astronaut.jpg")
    handle = page.get_by_role("slider", name="Before and after")
    expect(handle).to_have_attribute("aria-valuenow", "50")
    handle.press("ArrowRight")
    expect(handle).to_have_attribute("aria-valuenow", "52")
    handle.press("Home")
    expect(handle).to_have_attribute("aria-valuetext", "0 % before, 100 % after")
    box = page.locator("#compare").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    expect(handle).to_have_attribute("aria-valuenow", "75")


def test_drop_and_paste(page: Page, photos: Path) -> None:
    page.evaluate(DROP, js_file(photos / "coffee.jpg"))
    expect(page.locator("#result-title")).to_be_visible()
    expect(page.locator("#drop-overlay")).to_be_hidden()
    assert downloaded(page)[0] == "coffee-cutout.png"
    page.evaluate(PASTE, js_file(photos / "chelsea.jpg"))
    expect(page.locator("#tiles li[data-state=done]")).to_have_count(2)
    assert downloaded(page)[0] == "chelsea-cutout.png"


def test_options_reach_the_result(page: Page, photos: Path) -> None:
    page.click("summary")
    page.check("[name=output][value=mask]")
    page.check("[name=format][value=webp]")
    expect(page.locator("#background")).to_be_hidden()
    page.check("#crop")
    page.set_input_files("#files", photos / "astronaut.jpg")
    expect(page.locator("#result-title")).to_have_text("Mask ready")
    name, image = downloaded(page)
    assert name == "astronaut-mask.webp"
    assert image.format == "WEBP"
    assert image.width < 512
    # a cropped result cannot lie over the original: a switch instead of the slider
    expect(page.locator("#handle")).to_be_hidden()
    page.click("text=Show original")
    expect(page.locator("#before")).to_be_visible()


def test_new_settings_are_applied_to_the_same_picture(page: Page, photos: Path) -> None:
    page.set_input_files("#files", photos / "astronaut.jpg")
    expect(page.locator("#download")).to_be_visible()
    expect(page.locator("#apply-settings")).to_be_hidden()
    page.click("summary")
    page.check("[name=output][value=mask]")
    page.click("#apply-settings")
    expect(page.locator("#result-title")).to_have_text("Mask ready")
    assert downloaded(page)[1].mode in {"L", "RGB"}


def test_several_pictures(page: Page, photos: Path) -> None:
    page.set_input_files("#files", [photos / f"{name}.jpg" for name in ("astronaut", "coffee", "chelsea")])
    expect(page.locator("#tiles li[data-state=done]")).to_have_count(3, timeout=40_000)
    page.click("#tiles li:nth-child(3) button")
    assert downloaded(page)[0] == "chelsea-cutout.png"
    page.click("#clear")
    expect(page.locator("#drop-zone")).to_be_visible()
    expect(page.locator("#filmstrip")).to_be_hidden()


def test_a_problem_is_explained(page: Page, photos: Path) -> None:
    page.set_input_files("#files", photos / "text.jpg")
    expect(page.locator("#problem-code")).to_have_text("not_a_picture")
    expect(page.locator("#problem-title")).to_have_text("The bytes are not a picture")
    expect(page.locator("#problem-detail")).to_have_text(
        "The file looks like text. Send a JPEG, PNG, WebP, HEIC, AVIF, BMP, TIFF or GIF."
    )
    expect(page.locator("#problem-advice")).to_be_empty()  # the detail says it
    expect(page.locator("#retry")).to_be_hidden()
    page.click("#choose-another")
    expect(page.locator("#drop-zone")).to_be_visible()


def test_invalid_pictures_are_refused_before_the_upload(page: Page, photos: Path, tmp_path: Path) -> None:
    sent = submissions(page)
    expect(page.locator("#limits")).to_contain_text("up to")
    page.set_input_files("#files", photos / "notes.txt")
    expect(page.locator("#problem-title")).to_have_text("This is not a picture")
    page.click("#choose-another")
    wide = io.BytesIO()
    Image.new("L", (30_001, 8)).save(wide, "PNG")
    page.set_input_files("#files", {"name": "wide.png", "mimeType": "image/png", "buffer": wide.getvalue()})
    expect(page.locator("#problem-detail")).to_contain_text("30001 × 8")
    page.click("#choose-another")
    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(bytes(30_000_001))
    page.set_input_files("#files", heavy)
    expect(page.locator("#problem-code")).to_have_text("payload_too_large")
    assert sent == []


def test_the_queue_position_is_shown_and_survives_a_reload(page: Page, photos: Path, stack: Stack) -> None:
    with stack.paused_worker():
        page.set_input_files("#files", photos / "astronaut.jpg")
        expect(page.locator("#status")).to_have_text("Next in line")
        page.reload()
        expect(page.locator("#status")).to_have_text("Next in line")
    expect(page.locator("#result-title")).to_be_visible()
    assert downloaded(page)[0] == "astronaut-cutout.png"
    expect(page.locator("#handle")).to_be_visible()  # the original is remembered, small


def test_the_progress_bar_follows_the_job(page: Page, photos: Path) -> None:
    page.evaluate("""() => {
      const bar = document.querySelector("#progress"), seen = (window.seen = []);
      new MutationObserver(() => bar.hasAttribute("value") && seen.push(bar.value)).observe(bar, { attributes: true });
    }""")
    page.set_input_files("#files", photos / "astronaut.jpg")
    expect(page.locator("#result-title")).to_be_visible()
    assert 0.4 in page.evaluate("seen"), "the progress that the replica reported"


def test_a_job_is_canceled(page: Page, photos: Path, stack: Stack) -> None:
    with stack.paused_worker():
        page.set_input_files("#files", photos / "astronaut.jpg")
        expect(page.locator("#status")).to_have_text("Next in line")
        page.click("#cancel")
        expect(page.locator("#problem-title")).to_have_text("Canceled")
    page.click("#retry")
    expect(page.locator("#result-title")).to_be_visible()


def test_a_lost_frontend_is_reported_and_survived(page: Page, photos: Path, stack: Stack) -> None:
    with stack.paused_worker():
        page.set_input_files("#files", photos / "astronaut.jpg")
        expect(page.locator("#status")).to_have_text("Next in line")
        stack.kill_frontend()
        expect(page.locator("#offline")).to_be_visible()
        stack.start_frontend()
        expect(page.locator("#offline")).to_be_hidden(timeout=30_000)
    expect(page.locator("#result-title")).to_be_visible()


def test_retrying_a_lost_request_keeps_its_idempotency_key(page: Page, photos: Path) -> None:
    keys: list[str] = []

    def lose_the_first(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/jobs?*", lose_the_first)
    page.set_input_files("#files", photos / "astronaut.jpg")
    expect(page.locator("#problem-code")).to_have_text("unreachable")
    page.click("#retry")
    expect(page.locator("#result-title")).to_be_visible()
    assert keys[0] == keys[1]


def test_a_missing_job_is_reported(page: Page) -> None:
    kept = [{"id": "0" * 32, "name": "old.jpg", "params": {"output": "cutout"}, "thumbnail": ""}]
    page.evaluate("kept => sessionStorage.setItem('matte.jobs', JSON.stringify(kept))", kept)
    page.reload()
    expect(page.locator("#problem-code")).to_have_text("job_not_found")
    expect(page.locator("#retry")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_small_phone(browser: Browser, stack: Stack, photos: Path, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.goto(stack.url)
    page.wait_for_selector("#facts .ready")
    page.click("summary")
    spill = "document.documentElement.scrollWidth - innerWidth"
    assert page.evaluate(spill) == 0
    page.set_input_files("#files", photos / "coffee.jpg")
    expect(page.locator("#result-title")).to_be_visible(timeout=20_000)
    expect(page.locator("#result-title")).to_be_in_viewport()
    assert page.evaluate(spill) == 0
    page.click("#zoom")
    assert page.evaluate(spill) == 0  # the picture scrolls in its place, not the page
    page.set_input_files("#files", [photos / "chelsea.jpg"] * 4)
    expect(page.locator("#tiles li[data-state=done]")).to_have_count(5, timeout=40_000)
    assert page.evaluate(spill) == 0
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 21)"
    assert dark == (scheme == "dark")
    context.close()


def test_every_control_has_a_name(page: Page, photos: Path) -> None:
    page.set_input_files("#files", photos / "coffee.jpg")
    expect(page.locator("#result-title")).to_be_visible()
    page.click("summary")
    nameless = [
        control.evaluate("e => e.outerHTML")
        for role in ("button", "link", "slider", "combobox", "radio", "checkbox", "spinbutton", "progressbar")
        for control in page.get_by_role(role).all()
        if not control.aria_snapshot().partition('"')[1]
    ]
    assert nameless == []
