"""ExternalChecks of rollouts: real HTTP servers that answer well, badly, slowly, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from matte_core.contracts.k8s.rollout import Phase, QueryCheck, RolloutStatus, Verdict, WebhookCheck
from matte_operator.background_loop import BackgroundLoop
from matte_operator.domain.rollout.observation import ExternalResult
from matte_operator.external_checks import MAX_ANSWER_BYTES, ExternalChecks, run_checks
from matte_operator.required_evidence import ExternalCheckRequest

STATUS = RolloutStatus(
    phase=Phase.STEPPING,
    stable="1.0.0",
    canary="2.0.0-rc.1",
    attempt=3,
    weight=25,
    step_started_at="2026-01-01T00:00:00Z",
)
Reply = tuple[int, dict[str, str], bytes, float]


@dataclass
class Judge:
    """A server whose answer a test sets: code, headers, body, seconds before it."""

    reply: Reply = (200, {}, b"", 0.0)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    url: str = ""

    def says(self, body: Any, code: int = 200, seconds: float = 0.0, **headers: str) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.reply = (code, headers, text, seconds)


@pytest.fixture
def judge() -> Iterator[Judge]:
    found = Judge()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))))
            code, headers, body, seconds = found.reply
            time.sleep(seconds)
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:  # who asked has gone
                self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def inquiry(
    *checks: QueryCheck | WebhookCheck, model: str = "portrait", due_in: float = 0, **status: Any
) -> ExternalCheckRequest:
    queries = tuple(check for check in checks if isinstance(check, QueryCheck))
    hooks = tuple(check for check in checks if isinstance(check, WebhookCheck))
    return ExternalCheckRequest(
        model, STATUS.model_copy(update=status), queries, hooks, step_seconds=59.2, due_in=due_in
    )


def query(text: str = "up", name: str = "rate") -> QueryCheck:
    return QueryCheck(name=name, query=text, min=1)


def hook(judge: Judge, seconds: int = 5, name: str = "judge") -> WebhookCheck:
    return WebhookCheck(name=name, url=f"{judge.url}/verdict", timeout_seconds=seconds)


def vector(*values: Any) -> dict[str, Any]:
    result = [{"metric": {"n": str(n)}, "value": [1.0, value]} for n, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


async def answer(judge: Judge, check: QueryCheck | WebhookCheck) -> ExternalResult:
    return (await run_checks(inquiry(check), judge.url))[check.name]


async def test_a_query_has_its_placeholders_filled_and_gives_a_number(judge: Judge) -> None:
    judge.says(vector("0.25"))
    text = 'rate(x{model="{{model}}",version="{{ version }}",old="{{stable}}"}[{{window}}])'
    assert await answer(judge, query(text)) == ExternalResult(value=0.25)
    method, path, _ = judge.asked[0]
    assert (method, urlsplit(path).path) == ("GET", "/api/v1/query")
    asked = parse_qs(urlsplit(path).query)["query"]
    assert asked == ['rate(x{model="portrait",version="2.0.0-rc.1",old="1.0.0"}[60s])']


async def test_a_scalar_is_a_number_too(judge: Judge) -> None:
    judge.says({"status": "success", "data": {"resultType": "scalar", "result": [1.0, "3"]}})
    assert (await answer(judge, query())).value == 3


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (vector(), 200, "no data"),
        (vector("1", "2"), 200, "gives 2 numbers, one is needed"),
        (vector("NaN"), 200, "gives nan"),
        (vector("+Inf"), 200, "gives inf"),
        (vector("many"), 200, "gives no number"),
        ({"status": "error", "error": "parse error: unexpected end"}, 400, "refuses the query: parse error"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, 200, "no vector and no scalar"),
        (b"<html>", 200, "no Prometheus"),
        (b"", 503, "HTTP 503"),
        (vector("1") | {"more": "x" * MAX_ANSWER_BYTES}, 200, f"longer than {MAX_ANSWER_BYTES} bytes"),
    ],
)
async def test_an_answer_that_is_no_number_says_why(judge: Judge, body: Any, code: int, words: str) -> None:
    judge.says(body, code)
    found = await answer(judge, query())
    assert found.value is None
    assert words in found.message


async def test_an_unknown_placeholder_is_named_and_nobody_is_asked(judge: Judge) -> None:
    found = await answer(judge, query("x{{tenant}}"))
    assert "{{tenant}}; there is model, version, stable, window" in found.message
    assert judge.asked == []


async def test_without_prometheus_it_says_what_to_set() -> None:
    assert "operator.prometheusUrl" in (await run_checks(inquiry(query()), ""))["rate"].message


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_a_webhook_is_told_what_it_is_about_and_judges(judge: Judge, verdict: Verdict) -> None:
    judge.says({"verdict": verdict.value, "message": "seen", "more": 1})
    assert await answer(judge, hook(judge)) == ExternalResult(verdict=verdict, message="seen")
    method, path, body = judge.asked[0]
    assert (method, path) == ("POST", "/verdict")
    assert json.loads(body) == {
        "model": "portrait",
        "version": "2.0.0-rc.1",
        "stable": "1.0.0",
        "weight": 25,
        "attempt": 3,
        "phase": "Stepping",
    }


@pytest.mark.parametrize("body", [{"verdict": "maybe"}, {}, [], b"pass"])
async def test_a_webhook_s_answer_that_is_no_verdict_is_none(judge: Judge, body: Any) -> None:
    judge.says(body)
    found = await answer(judge, hook(judge))
    assert found.verdict is None
    assert '"verdict": "pass"' in found.message


async def test_no_redirect_is_followed(judge: Judge) -> None:
    judge.says(b"", 307, Location=f"{judge.url}/else")
    assert "HTTP 307" in (await answer(judge, hook(judge))).message
    assert len(judge.asked) == 1


async def test_a_judge_that_is_not_there() -> None:
    gone = WebhookCheck(name="gone", url="http://127.0.0.1:9/x")
    assert "cannot be reached" in (await run_checks(inquiry(gone), ""))["gone"].message


async def test_all_are_asked_at_once_and_the_slow_ones_are_cut(judge: Judge) -> None:
    judge.says({"verdict": "pass"}, seconds=1.5)
    began = time.monotonic()
    found = await run_checks(inquiry(*(hook(judge, 1, f"j{n}") for n in range(8))), "")
    assert time.monotonic() - began < 1.4
    assert {seen.message for seen in found.values()} == {"no answer within 1 s"}


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    found = BackgroundLoop()
    yield found
    found.close()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_was_asked_early_is_there_when_the_check_is_due(judge: Judge, background: BackgroundLoop) -> None:
    judge.says({"verdict": "pass"})
    checks_ = ExternalChecks(background, "", wait_seconds=5)
    for _ in range(3):
        assert checks_.results([inquiry(hook(judge), due_in=3)]) == {}
    assert checks_.results([inquiry(hook(judge))]) == {"portrait": {"judge": ExternalResult(verdict=Verdict.PASS)}}
    assert len(judge.asked) == 1
    checks_.results([inquiry(hook(judge), checked_at="2026-01-01T00:00:15Z")])
    assert len(judge.asked) == 2


def test_a_pass_does_not_wait_for_a_slow_judge(judge: Judge, background: BackgroundLoop) -> None:
    judge.says({"verdict": "pass"}, seconds=2)
    checks_ = ExternalChecks(background, "", wait_seconds=0.2)
    began = time.monotonic()
    found = checks_.results([inquiry(hook(judge)), inquiry(query(), model="other")])
    assert time.monotonic() - began < 0.6
    assert found["portrait"]["judge"].message == "no answer until the check was due"
    assert "operator.prometheusUrl" in found["other"]["rate"].message


def test_a_rollout_that_is_over_asks_nobody_any_more(judge: Judge, background: BackgroundLoop) -> None:
    judge.says({"verdict": "pass"}, seconds=1)
    checks_ = ExternalChecks(background, "", wait_seconds=0.05)
    checks_.results([inquiry(hook(judge))])
    until(lambda: len(judge.asked) == 1)
    assert checks_.results([]) == {}
    judge.says({"verdict": "fail"})
    checks_ = ExternalChecks(background, "", wait_seconds=5)
    assert checks_.results([inquiry(hook(judge))])["portrait"]["judge"].verdict is Verdict.FAIL
