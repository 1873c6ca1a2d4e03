"""Pages of other origins, in a real browser: the stock @gradio/client, fetch and EventSource."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.conftest import Stack
from playwright.sync_api import Browser, Page

NODE = Path(__file__).parents[1] / "node"
CLIENT = NODE / "node_modules/@gradio/client/dist/browser.js"
#: everything a page may want: (base, client) -> what it saw
GRADIO = """async ([base, script, bytes]) => {
  const { Client, handle_file } = await import(script);
  const client = await Client.connect(base);
  const image = new Blob([new Uint8Array(bytes)], { type: "image/jpeg" });
  const done = await client.predict("/remove_background", { image: handle_file(image) });
  const shown = new Image();
  shown.src = done.data[0].url;
  await shown.decode();
  return { width: shown.naturalWidth, type: (await fetch(done.data[0].url)).headers.get("content-type") };
}"""
REST = """async ([base, bytes]) => {
  const job = await fetch(`${base}v1/jobs`, {
    method: "POST", body: new Uint8Array(bytes),
    headers: { "Content-Type": "image/jpeg", "Idempotency-Key": String(Math.random()) },
  });
  const links = (await job.json()).links;
  await new Promise((resolve, reject) => {
    const events = new EventSource(new URL(links.events, base));
    events.addEventListener("finished", () => (events.close(), resolve()));
    events.onerror = () => (events.close(), reject(new Error("the events are not readable")));
  });
  const result = await fetch(new URL(links.result, base));
  const missing = await fetch(`${base}v1/jobs/none`);
  return {
    location: job.headers.get("location"), version: result.headers.get("x-model-version"),
    size: (await result.blob()).size, code: (await missing.json()).code,
  };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of another site; it serves the client package."""
    if not CLIENT.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed")
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=NODE, check=True, timeout=300, capture_output=True)
    handler = functools.partial(Quiet, directory=str(CLIENT.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def foreign(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    yield opened
    context.close()


def site(host: str, port: int) -> str:
    return f"http://{host}:{port}/"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_gradio_client_on_another_loopback_origin(
    stack: Stack, foreign: Page, elsewhere: int, photos: Path, host: str
) -> None:
    foreign.goto(site(host, elsewhere))
    picture = list((photos / "astronaut.jpg").read_bytes())
    seen = foreign.evaluate(GRADIO, [stack.url, f"{site(host, elsewhere)}browser.js", picture])
    assert seen == {"width": 512, "type": "image/png"}


def test_rest_on_another_loopback_origin(stack: Stack, foreign: Page, elsewhere: int, photos: Path) -> None:
    foreign.goto(site("localhost", elsewhere))
    seen = foreign.evaluate(REST, [stack.url, list((photos / "coffee.jpg").read_bytes())])
    assert seen["location"].startswith("/v1/jobs/")
    assert seen["version"]
    assert seen["size"] > 1000
    assert seen["code"] == "job_not_found", "problems are readable, too"


@pytest.mark.usefixtures("elsewhere")
def test_a_foreign_page_is_refused_at_once(stack: Stack, foreign: Page, photos: Path) -> None:
    """``page.test`` is not loopback for the browser or for us, wherever it leads."""
    foreign.route("http://page.test/**", lambda route: route.fulfill(
        body=(CLIENT.parent / route.request.url.rpartition("/")[2]).read_bytes() if route.request.url.endswith(".js")
        else b"<p>page", content_type="text/javascript" if route.request.url.endswith(".js") else "text/html",
    ))  # fmt: skip
    said: list[str] = []
    foreign.on("console", lambda message: said.append(message.text))
    foreign.goto("http://page.test/")
    picture = list((photos / "astronaut.jpg").read_bytes())
    failing = """async ([source, args]) => {
      try { await eval(source)(args); return ""; } catch (error) { return String(error.message ?? error); }
    }"""
    gradio = foreign.evaluate(failing, [GRADIO, [stack.url, "http://page.test/browser.js", picture]])
    assert gradio, "an error, and no waiting for ever"
    rest = foreign.evaluate(failing, [REST, [stack.url, picture]])
    assert "Failed to fetch" in rest
    assert any("CORS" in text or "Access-Control-Allow-Origin" in text for text in said), said
