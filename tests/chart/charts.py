"""Charts rendered by helm, without a cluster."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
CHART = CHARTS / "matte"
VARIANTS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
#: what manifests are checked against
KUBERNETES = "1.34"

Manifest = dict[str, Any]


def helm() -> str:
    """Path of helm 3 or 4.

    Raises:
        RuntimeError: there is none.
    """
    found = os.environ.get("HELM") or shutil.which("helm")
    if found is None:
        raise RuntimeError(
            "helm is not on the PATH: install helm 3 or 4 (https://helm.sh/docs/intro/install), or make helm"
        )
    return found


def template(*arguments: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """``helm template`` of release ``r`` in namespace ``n``; stderr says why it failed."""
    command = [helm(), "template", "r", str(chart), "--namespace", "n", "--kube-version", KUBERNETES, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@functools.cache
def rendered(*arguments: str, chart: Path = CHART) -> list[Manifest]:
    done = template(*arguments, chart=chart)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def variant(name: str, *arguments: str) -> list[Manifest]:
    """The manifests of ``ci/NAME-values.yaml``."""
    return rendered("--values", str(CHART / "ci" / f"{name}-values.yaml"), *arguments)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str, suffix: str = "") -> Manifest:
    """The only manifest of this kind whose name ends with ``suffix``."""
    (found,) = [m for m in of_kind(manifests, kind) if m["metadata"]["name"].endswith(suffix)]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod or pod template, with the name of its owner."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest
        elif manifest["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield manifest["metadata"]["name"], manifest["spec"]["template"]


def environment(container: Manifest) -> dict[str, Any]:
    """Values of the environment variables, or their ``valueFrom``."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector matches. Of the operators, only ``In`` is supported."""
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in selector.get("matchExpressions", ())
    )
