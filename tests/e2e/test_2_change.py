"""What changes while people use it: models come, the chart is upgraded, frontends are scaled. Nobody notices."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from e2e import objects
from e2e.kube import Kube, until
from e2e.phases import Phases
from e2e.streams import Reader
from e2e.traffic import flowing, picture, predict, wrong

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

STREAM_SECONDS = 150
#: after the last change: pods that end still drain, and their balancers notice
AFTERWARDS_SECONDS = 10
MODELS = (objects.MAIN, "earlier", "elsewhere", "grabcut")
PARTS = ("deployment/matte-frontend", "deployment/matte-operator", "statefulset/matte-redis")


@pytest.fixture(scope="module")
def models(release: str, kube: Kube, phases: Phases) -> str:
    """A second model in the same Pool, and one that another Gradio app serves."""
    with phases("two more Models Ready, one of them another Gradio app"):
        kube.apply(objects.EARLIER, objects.ELSEWHERE)
        for name in ("earlier", "elsewhere"):
            kube.wait(f"model/{name}", "condition=Ready", 180)
    return release


@pytest.fixture(scope="module")
def waiting(models: str, kube: Kube) -> Iterator[Reader]:
    """A reader of a job that waits: its model has one place, which a job has that does not end."""
    kube("exec", "deployment/elsewhere", "--", "touch", "/tmp/hold")
    with httpx.Client(base_url=models, timeout=60) as client:
        first, second = (_submitted(client, "elsewhere") for _ in range(2))
        until(lambda: client.get(f"/v1/jobs/{first}").json()["state"] == "running", 60, "the first job's start")
    reader = Reader(f"{models}/v1/jobs/{second}/events")
    reader.start()
    yield reader
    kube("exec", "deployment/elsewhere", "--", "rm", "-f", "/tmp/hold")


def _submitted(client: httpx.Client, model: str) -> str:
    answer = client.post(f"/v1/jobs?model={model}", content=picture(), headers={"Content-Type": "image/png"})
    return str(answer.raise_for_status().json()["id"])


def test_all_models_are_in_one_interface(models: str) -> None:
    with httpx.Client(base_url=models, timeout=60) as client:
        listed = {model["name"]: model for model in client.get("/models").json()["models"]}
        assert {name: model["ready"] for name, model in listed.items()} == dict.fromkeys(MODELS, True)
        assert listed["elsewhere"]["versions"][0]["family"] == "gradio"
        assert {name: wrong(predict(client, f"/models/{name}/predict")) for name in MODELS} == dict.fromkeys(MODELS, "")


def test_an_upgrade_fails_nobody(
    waiting: Reader, models: str, kube: Kube, phases: Phases, helm_arguments: list[str], tmp_path: Path
) -> None:
    chart, what = previous_chart(tmp_path)
    with phases(f"helm upgrade to {what}"):
        arguments = [*objects.arguments(chart), *helm_arguments[len(objects.arguments(objects.CHART)) :]]
        _upgrade(kube, chart, *arguments, "--set", "frontend.podAnnotations.e2e=before")
    with phases("helm upgrade to this chart, with traffic") as phase, flowing(models) as traffic:
        _upgrade(kube, objects.CHART, *helm_arguments, "--set", "frontend.podAnnotations.e2e=after")
        time.sleep(AFTERWARDS_SECONDS)
    phase.notes.append(traffic.summary())
    assert traffic.failures == []
    assert len(traffic.seconds) > 10
    assert waiting.is_alive(), waiting


def test_scaling_frontends_fails_nobody(
    waiting: Reader, models: str, kube: Kube, phases: Phases, helm_arguments: list[str]
) -> None:
    with phases("frontends 1 → 3 → 1, with traffic") as phase, flowing(models) as traffic:
        for count in (3, 1):
            same = ("--set", "frontend.podAnnotations.e2e=after", "--set", f"frontend.replicas={count}")
            _upgrade(kube, objects.CHART, *helm_arguments, *same)
            assert kube.get("deployment/matte-frontend")["status"]["readyReplicas"] == count
            time.sleep(AFTERWARDS_SECONDS)
    phase.notes.append(traffic.summary())
    assert traffic.failures == []
    assert len(traffic.seconds) > 10
    assert waiting.is_alive(), waiting


def test_the_stream_of_the_waiting_job_was_not_cut(waiting: Reader, kube: Kube, phases: Phases) -> None:
    with phases(f"a stream open for more than {STREAM_SECONDS} s") as phase:
        waiting.join(max(0.0, STREAM_SECONDS + 5 - waiting.open_seconds))
        assert waiting.is_alive(), waiting
        assert [name for name, _ in waiting.events if name not in {"queued", "position"}] == []
        kube("exec", "deployment/elsewhere", "--", "rm", "/tmp/hold")
        waiting.join(60)
        phase.notes.append(f"{waiting.seconds:.0f} s, {waiting.comments} signs of life")
    assert waiting.problem == ""
    assert waiting.seconds > STREAM_SECONDS
    assert waiting.comments >= STREAM_SECONDS // 20
    assert waiting.ended is not None
    assert waiting.ended["state"] == "succeeded", waiting.events
    result = httpx.get(waiting.url.replace("/events", "/result")).raise_for_status()
    assert wrong(result.content) == ""


def _upgrade(kube: Kube, chart: Path, *arguments: str) -> None:
    kube.helm("upgrade", "matte", str(chart), *arguments)
    for part in PARTS:
        kube("rollout", "status", part, "--timeout=180s")
    kube.wait("pool/default", "condition=Ready", 180)
    kube.wait(f"model/{objects.MAIN}", "condition=Ready", 60)


def previous_chart(folder: Path) -> tuple[Path, str]:
    """The chart of the commit before: of HEAD where the checkout differs from it. Without one, this chart."""
    git = ("git", "-C", str(objects.ROOT))
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "charts/matte"], check=False).returncode
    commit = "HEAD" if changed else "HEAD~1"
    archive = subprocess.run([*git, "archive", commit, "charts/matte"], capture_output=True, check=False)
    if archive.returncode:
        return objects.CHART, f"this chart with another value ({commit} has no chart)"
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder / "charts" / "matte", f"the chart of {commit}"
