"""The command is quick to start, and does not need what only ``matte serve`` does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement

#: not pydantic: typer itself takes it where it is
HEAVY = {"cv2", "gradio", "httpx", "kubernetes", "matte_jobs", "numpy", "opentelemetry", "ray", "rich", "torch"}
#: runs the command in this process, then names what it had imported
RUN = """
import json, runpy, sys
try:
    runpy.run_module("matte_cli", run_name="__main__", alter_sys=True)
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
#: the same, where what only a server needs is not installed
BARE = """
import sys
sys.modules |= dict.fromkeys(("matte_frontend", "matte_inference", "ray", "gradio", "cv2", "torch"))
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    found = os.environ | environment
    return subprocess.run(command, env=found, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--help"], {}, "rollout"),
        ([], {"_MATTE_COMPLETE": "complete_bash", "COMP_WORDS": "matte j", "COMP_CWORD": "1"}, "jobs"),
    ],
)
def test_help_and_completion_import_nothing_heavy(arguments: list[str], environment: dict[str, str], said: str) -> None:
    found = run(RUN, *arguments, **environment)
    assert said in found.stdout
    assert HEAVY.isdisjoint(json.loads(found.stderr.splitlines()[-1]))


def test_what_is_installed_alone_brings_no_server() -> None:
    seen: set[str] = set()
    open_ = ["matte-cli"]
    while open_:
        name = open_.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            wanted = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # not for this system
            continue
        open_ += [re.sub(r"[-_.]+", "-", r.name).lower() for r in wanted if r.marker is None or r.marker.evaluate()]
    assert "httpx" in seen
    assert seen.isdisjoint({"ray", "gradio", "opencv-python-headless", "torch", "matte-frontend", "matte-inference"})


def test_without_the_server_everything_else_works_and_serve_says_what_to_install() -> None:
    serve = run(BARE + RUN, "serve")
    assert serve.returncode == 1
    assert "pip install 'matte-cli[serve]'" in serve.stderr
    for command in ("cut", "jobs", "models", "traffic", "doctor"):
        assert run(BARE + RUN, command, "--help").returncode == 0


def test_help_names_no_type_of_a_flag() -> None:
    assert "<bool>" not in run(RUN, "cut", "--help").stdout
