"""One release on a real cluster, for the whole suite: installed once, used in order, uninstalled at the end."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from e2e import objects, weights
from e2e.kube import CommandError, Kube, checked_context, forwarded, run, until
from e2e.phases import Phases
from e2e.traffic import predict, wrong

PHASES = Phases()
#: from helm install to the first cut-out, images present
FIRST_CUTOUT_SECONDS = 120
_VOLUME = "/var/tmp"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each phase took."""
    if PHASES.all:
        terminalreporter.section("phases")
        for line in PHASES.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def phases() -> Phases:
    return PHASES


@pytest.fixture(scope="session")
def ingress() -> Iterator[str]:
    """Where the ingress controller listens, as seen from here: MATTE_E2E_INGRESS, else Traefik through a tunnel."""
    given = os.environ.get("MATTE_E2E_INGRESS", "")
    namespace, _, service = os.environ.get("MATTE_E2E_INGRESS_SERVICE", "traefik/traefik").partition("/")
    with contextlib.nullcontext(given) if given else forwarded(namespace, f"service/{service}", 80) as address:
        yield address


@pytest.fixture(scope="session")
def url(ingress: str) -> Iterator[str]:
    """The release's URL. This process resolves its host name, as /etc/hosts would."""
    address, real = urlsplit(ingress), socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        is_matte = host in {objects.HOST, objects.HOST.encode()}
        return real(address.hostname if is_matte else host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield f"http://{objects.HOST}:{address.port or 80}"


@pytest.fixture(scope="session")
def kube(request: pytest.FixtureRequest) -> Iterator[Kube]:
    """An empty namespace that admits only restricted pods, the CRDs, and what the suite itself needs."""
    checked_context()
    found = Kube(os.environ.get("MATTE_E2E_NAMESPACE", "matte-e2e"))
    with PHASES("preparation: namespace, CRDs, images on the node"):
        _crds()
        run("kubectl", "delete", "namespace", found.namespace, "--ignore-not-found", timeout=600)
        run("kubectl", "create", "namespace", found.namespace)
        level = "pod-security.kubernetes.io/enforce=restricted"
        run("kubectl", "label", "namespace", found.namespace, level)
        _pull(found)
        found.apply(*objects.elsewhere())
        found.apply(*objects.store())
        for name in ("elsewhere", "store"):
            found("rollout", "status", f"deployment/{name}", "--timeout=120s")
    with PHASES("matte models push"):
        weights.publish_main(found)
    with _redis_volume(found):
        yield found
        failed = request.session.testsfailed > 0
        if failed:
            _tell(found)
        if not (failed and os.environ.get("MATTE_E2E_KEEP")):
            run("kubectl", "delete", "namespace", found.namespace, "--ignore-not-found", timeout=600)


def _tell(kube: Kube) -> None:
    """What a person would look at first."""
    questions = [
        ["get", "pods,pools,models,modelversions,rayservices,rayclusters", "-o", "wide"],
        ["get", "events", "--sort-by=.lastTimestamp"],
        ["get", "pools,models", "-o", "jsonpath={range .items[*]}{.metadata.name}: {.status.conditions}{'\\n'}{end}"],
        ["logs", "deployment/matte-operator", "--tail=40"],
        ["logs", "deployment/matte-frontend", "--tail=20"],
    ]
    for question in questions:
        with contextlib.suppress(CommandError):
            print(f"\n$ kubectl {' '.join(question)}\n{kube(*question)[-6000:]}")


def _crds() -> None:
    """By helm, where they were installed before."""
    where = "jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-namespace}"
    try:
        namespace = run("kubectl", "get", "crd", "pools.matte.dev", "-o", where).strip() or "default"
    except CommandError:
        namespace = "default"
    chart = str(objects.ROOT / "charts" / "matte-crds")
    command = ["helm", "upgrade", "--install", "matte-crds", chart, "--namespace", namespace, "--take-ownership"]
    if run("helm", "version", "--template", "{{.Version}}").startswith("v4"):
        command.append("--force-conflicts")
    run(*command)
    run("kubectl", "wait", "--for=condition=Established", "crd/pools.matte.dev", "crd/models.matte.dev")


def _pull(kube: Kube) -> None:
    images = {name: objects.image(name) for name in ("frontend", "operator", "inference")}
    images["redis"] = objects.redis_image()
    kube.apply(*(objects.pod(f"pull-{name}", image, ["true"], user=10001) for name, image in images.items()))
    for name in images:
        kube.wait(f"pod/pull-{name}", "jsonpath={.status.phase}=Succeeded", 600)
        kube("delete", "pod", f"pull-{name}", "--wait=false")


@contextlib.contextmanager
def _redis_volume(kube: Kube) -> Iterator[None]:
    """A folder on the node for Redis, where the cluster has no StorageClass to make one."""
    if run("kubectl", "get", "storageclass", "-o", "name").strip():
        yield
        return
    name = f"{kube.namespace}-redis"
    _on_node(f"{name}-make", f"rm -rf /node/{name} && mkdir /node/{name}")
    run("kubectl", "delete", "persistentvolume", name, "--ignore-not-found")
    kube.apply(objects.volume(name, kube.namespace, "data-matte-redis-0", f"{_VOLUME}/{name}"))
    try:
        yield
    finally:
        run("kubectl", "delete", "persistentvolume", name, "--ignore-not-found", "--wait=false")
        _on_node(f"{name}-remove", f"rm -rf /node/{name}")


def _on_node(name: str, script: str) -> None:
    """Runs a shell script on the node, as Redis' user. In `default`: restricted namespaces admit no host paths."""
    default = Kube("default")
    default("delete", "pod", name, "--ignore-not-found")
    command = ["sh", "-c", script]
    default.apply(objects.pod(name, objects.redis_image(), command, user=999, host_path=_VOLUME))
    default.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded", 60)
    default("delete", "pod", name, "--wait=false")


@pytest.fixture(scope="session")
def helm_arguments() -> list[str]:
    """Values of the release."""
    found = objects.arguments(objects.CHART)
    classes = run("kubectl", "get", "storageclass", "-o", "name").strip()
    return [*found, "--set", "redis.persistence.storageClass=null"] if classes else found


@pytest.fixture(scope="session")
def release(kube: Kube, url: str, helm_arguments: list[str]) -> str:
    """The installed release, up to its first cut-out through the ingress; its URL."""
    began = time.monotonic()
    with PHASES("helm install"):
        kube.helm("install", "matte", str(objects.CHART), *helm_arguments)
    with PHASES("Pool Ready"):
        kube.wait("pool/default", "condition=Ready", 300)
    with PHASES("Models Ready"):
        for name in ("grabcut", objects.MAIN):
            kube.wait(f"model/{name}", "condition=Ready", 120)
    with PHASES("first cut-out through the ingress") as phase:
        cutout: list[bytes] = []
        until(_answers(url, cutout), 60, "a cut-out")
        phase.notes.append(f"{time.monotonic() - began:.1f} s since helm install (bound: {FIRST_CUTOUT_SECONDS})")
    assert wrong(cutout[0]) == ""
    assert time.monotonic() - began <= FIRST_CUTOUT_SECONDS
    return url


def _answers(url: str, cutout: list[bytes]) -> Callable[[], bool]:
    def asked() -> bool:
        with httpx.Client(base_url=url, timeout=60) as client, contextlib.suppress(httpx.HTTPError):
            cutout.append(predict(client))
        return bool(cutout)

    return asked
