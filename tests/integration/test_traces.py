"""Traces and metrics of a whole Matte: one trace per job across every process, and names that are what they say."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import httpx
import pytest
from matte_frontend import metrics as frontend
from matte_inference.metrics import INFERENCE, JOBS, LEASES_LOST, MIRRORED, SWEPT
from matte_telemetry import attributes
from otlp import Got
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from served import Served, eventually
from skimage import data

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

STAGES = {"fetch", "decode", "forward", "encode", "store"}
JOB = {"POST /v{major}/predict", "admit grabcut", "route grabcut", "segment grabcut", *STAGES}
TRACE = "0af7651916cd43dd8448eb211c80319c"
SERVER, PRODUCER, CONSUMER = 2, 4, 5
#: counted only when something went wrong
ON_TROUBLE = {LEASES_LOST, SWEPT, MIRRORED}


@pytest.fixture(scope="module")
def photo() -> bytes:
    small = cv2.resize(data.astronaut(), (160, 160), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes())


def cut(served: Served, photo: bytes, path: str = "/v2/predict", **headers: str) -> httpx.Response:
    given = {"Content-Type": "image/jpeg", **headers}
    return httpx.post(served.stack.url + path, content=photo, headers=given, timeout=60)


def only(spans: list[Got], name: str) -> Got:
    (found,) = [span for span in spans if span.name == name]
    return found


def metrics(address: str) -> dict[str, Metric]:
    """Families by their name as it is scraped; the parser cuts ``_total`` off."""
    families = text_string_to_metric_families(httpx.get(address, timeout=20).text)
    return {f.name + ("_total" if f.type == "counter" else ""): f for f in families}


def total(family: Metric, **labels: str) -> float:
    return sum(
        s.value for s in family.samples if labels.items() <= s.labels.items() and not s.name.endswith("_created")
    )


def test_one_picture_is_one_trace_across_every_process(served: Served, photo: bytes) -> None:
    parent = f"00-{TRACE}-b7ad6b7169203331-01"
    answer = cut(served, photo, traceparent=parent)
    assert answer.status_code == 200, answer.text
    spans = served.receiver.trace(TRACE, until=JOB)
    assert {span.name for span in spans} == JOB
    assert len(spans) == len(JOB)

    request, admit = only(spans, "POST /v{major}/predict"), only(spans, "admit grabcut")
    route, segment = only(spans, "route grabcut"), only(spans, "segment grabcut")
    assert request.parent == "b7ad6b7169203331"
    assert [admit.parent, route.parent, segment.parent] == [request.id, admit.id, route.id]
    assert [s.kind for s in (request, admit, route, segment)] == [SERVER, PRODUCER, CONSUMER, SERVER]
    assert [s.service for s in (request, route, segment)] == ["matte-frontend", "matte-router", "matte-replica"]
    stages = [only(spans, name) for name in ("fetch", "decode", "forward", "encode", "store")]
    assert {stage.parent for stage in stages} == {segment.id}
    assert all(one.ended == pytest.approx(after.begun) for one, after in pairwise(stages))
    assert not any(span.failed for span in spans)

    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.id}-01"
    assert "forward;dur=" in answer.headers["server-timing"]
    assert "frontend;dur=" in answer.headers["server-timing"]
    assert request.attributes["http.route"] == "/v{major}/predict"
    assert request.attributes["http.response.status_code"] == 200
    assert route.attributes["matte.job.id"] == segment.attributes["matte.job.id"] == answer.headers["x-job-id"]
    assert route.attributes["matte.queue.wait_seconds"] >= 0
    assert route.events == ("admitted",)
    assert stages[2].attributes["matte.batch.size"] == 1
    assert set(served.receiver.paths) == {"/v1/traces"}


def test_gradios_calls_are_traced_and_streams_are_not(served: Served, photo: bytes) -> None:
    trace = "1" * 32
    headers, api = {"traceparent": f"00-{trace}-{'2' * 16}-01"}, f"{served.stack.url}/gradio_api"
    with httpx.Client(headers=headers, timeout=60) as client:
        path = client.post(f"{api}/upload", files={"files": ("a.jpg", photo)}).json()[0]
        body = {"data": [{"path": path}], "fn_index": 0, "session_hash": "s1"}
        joined = client.post(f"{api}/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        assert "process_completed" in client.get(f"{api}/queue/data?session_hash=s1").text
        client.get(f"{served.stack.url}/healthz")
        client.get(f"{served.stack.url}/v1/limits")
    expected = {"GET /v1/limits", *JOB, "POST /gradio_api/queue/join"} - {"POST /v{major}/predict"}
    spans = served.receiver.trace(trace, until=expected)  # the frontend's last span: those before it have been exported
    assert only(spans, "admit grabcut").parent == only(spans, "POST /gradio_api/queue/join").id
    assert only(spans, "segment grabcut").parent == only(spans, "route grabcut").id
    assert not [span.name for span in spans if "queue/data" in span.name or "healthz" in span.name]


def test_pictures_of_one_batch_are_linked(served: Served, photo: bytes) -> None:
    traces = [f"{n:032x}" for n in range(1, 4)]
    with ThreadPoolExecutor(3) as pool:
        list(
            pool.map(
                lambda trace: cut(served, photo, "/models/batched/predict", traceparent=f"00-{trace}-{'3' * 16}-01"),
                traces,
            )
        )
    spans = [span for trace in traces for span in served.receiver.trace(trace, until={"forward", "segment batched"})]
    jobs = {span.id for span in spans if span.name == "segment batched"}
    together = [span for span in spans if span.name == "forward" and span.attributes["matte.batch.size"] > 1]
    assert together
    for span in together:
        assert len(span.links) == span.attributes["matte.batch.size"] - 1
        assert set(span.links) <= jobs - {span.parent}


def test_a_failure_is_told_where_it_happened(served: Served) -> None:
    import corpus

    case = next(case for case in corpus.CASES if case.ok and case.decode == {"picture_corrupt"})
    trace = "4" * 32
    assert cut(served, case.data, traceparent=f"00-{trace}-{'5' * 16}-01").status_code == 422
    spans = served.receiver.trace(trace, until={"segment grabcut", "decode"})
    assert {span.name for span in spans if span.failed} == {"decode", "segment grabcut"}
    assert only(spans, "decode").attributes["error.type"] == "picture_corrupt"


def test_an_unsampled_trace_is_carried_but_not_told(served: Served, photo: bytes) -> None:
    trace = "6" * 32
    answer = cut(served, photo, traceparent=f"00-{trace}-{'7' * 16}-00")
    assert answer.headers["traceparent"].startswith(f"00-{trace}-")
    time.sleep(1.0)
    assert not [span for span in served.receiver.spans if span.trace == trace]


def test_the_frontends_metrics_are_those_that_are_named(served: Served, photo: bytes) -> None:
    before = metrics(served.frontend_metrics)
    assert cut(served, photo).status_code == 200
    assert cut(served, b"no picture").status_code == 415
    found = metrics(served.frontend_metrics)
    named = {metric.exported: metric for metric in (*frontend.FRONTEND, *frontend.STORE)}
    assert found.keys() == named.keys()
    for name, family in found.items():
        assert (family.type, family.documentation) == (named[name].type, named[name].help)
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= set(named[name].labels), name
    admitted = frontend.JOBS_ADMITTED.name
    assert total(found[admitted], model="grabcut") == total(before[admitted], model="grabcut") + 1
    refused = [total(m[frontend.JOBS_REFUSED.name], model="grabcut", code="not_a_picture") for m in (before, found)]
    assert refused[1] == refused[0] + 1
    assert total(found[frontend.HTTP_REQUESTS.name], route="/v{major}/predict", status="4xx") >= 1
    assert total(found[frontend.QUEUE_LENGTH.name], model="grabcut") == 0
    assert total(found[frontend.VERSION_REPLICAS.name], model="grabcut", version="2.0.0") == 1
    assert total(found[frontend.STORE_MAX.name]) > total(found[frontend.STORE_USED.name]) > 0
    assert total(found[frontend.OPEN_STREAMS.name]) == 0


def test_inferences_metrics_are_those_that_are_named(served: Served, photo: bytes) -> None:
    assert cut(served, photo).status_code == 200
    named = {metric.exported: metric for metric in INFERENCE}
    wanted = {metric.exported for metric in set(INFERENCE) - ON_TROUBLE}
    deadline = time.monotonic() + 60  # Ray exports every few seconds
    while True:
        found = {n: f for n, f in metrics(served.ray_metrics).items() if "matte" in n}
        if wanted <= found.keys():
            break
        assert time.monotonic() < deadline, wanted - found.keys()
        time.sleep(1)
    assert found.keys() <= named.keys()
    for name, family in found.items():
        assert family.type == named[name].type
        labels = {label for sample in family.samples for label in sample.labels}
        assert set(named[name].labels) <= labels, name
    assert total(found[JOBS.exported], model="grabcut", version="2.0.0", outcome="succeeded") >= 1


def test_a_job_that_is_canceled_ends_in_its_replica(served: Served) -> None:
    """Not only in the queue: the replica that runs it hears of it, and drops it before its end."""
    whole = cv2.resize(data.astronaut(), (6000, 6000), interpolation=cv2.INTER_LINEAR)
    jpeg = bytes(cv2.imencode(".jpg", cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))[1].tobytes())
    trace = TRACE.replace("a", "b")
    headers = {"Content-Type": "image/jpeg", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    url = served.stack.url
    job = url + httpx.post(f"{url}/v1/jobs", content=jpeg, headers=headers, timeout=60).json()["links"]["self"]
    eventually(lambda: httpx.get(job).json()["state"] == "running")
    assert httpx.delete(job).json()["state"] == "canceled"
    segment = only(served.receiver.trace(trace, until={"segment grabcut"}), "segment grabcut")
    assert (segment.attributes[attributes.ERROR_TYPE], segment.attributes[attributes.JOB_OUTCOME]) == (
        "canceled",
        "late",
    )


def test_logs_are_json_lines_with_the_trace(served: Served) -> None:
    (log,) = served.stack.folder.glob("frontend-*.log")
    lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
    assert any("traces are sent as matte-frontend" in line["message"] for line in lines)
