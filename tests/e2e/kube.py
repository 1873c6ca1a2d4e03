"""kubectl and helm as a person calls them, in one namespace of a cluster that is known to be a test's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: contexts of clusters that people make for tests; MATTE_E2E_CONTEXTS adds names, separated by commas
KNOWN_CONTEXTS = re.compile(r"(kind|k3d)-.+|minikube")

Object = dict[str, Any]


class CommandError(Exception):
    """kubectl or helm said no; the text is what it said."""


def run(*command: str, stdin: str | None = None, timeout: float = 300) -> str:
    """What a command prints.

    Raises:
        CommandError: its exit status is not 0.
    """
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode:
        raise CommandError(f"{' '.join(command[:6])} …: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def refusal(context: str, further: Sequence[str]) -> str:
    """Why a kube-context is not touched; '': it may be."""
    if KNOWN_CONTEXTS.fullmatch(context) or context in further:
        return ""
    return (
        f"the kube-context {context!r} is not known as a test cluster (kind-…, k3d-…, minikube): nothing was touched."
        f" If it is one: MATTE_E2E_CONTEXTS={context}"
    )


def checked_context() -> str:
    """The current context.

    Raises:
        CommandError: there is none, or it is not known as a test cluster.
    """
    context = run("kubectl", "config", "current-context").strip()
    further = [name.strip() for name in os.environ.get("MATTE_E2E_CONTEXTS", "").split(",")]
    if problem := refusal(context, [name for name in further if name]):
        raise CommandError(problem)
    return context


class Kube:
    """One namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 300) -> str:
        return run("kubectl", "--namespace", self.namespace, *arguments, stdin=stdin, timeout=timeout)

    def helm(self, *arguments: str, timeout: float = 400) -> str:
        return run("helm", *arguments, "--namespace", self.namespace, timeout=timeout)

    def apply(self, *objects: Object) -> None:
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *arguments: str) -> Object:
        found: Object = json.loads(self("get", *arguments, "-o", "json"))
        return found

    def wait(self, what: str, condition: str, seconds: float) -> None:
        """``kubectl wait``; when it fails, what the object says of itself comes along."""
        limit = f"--timeout={seconds:.0f}s"
        try:
            self("wait", f"--for={condition}", what, limit, timeout=seconds + 30)
        except CommandError as error:
            with contextlib.suppress(CommandError):
                error.add_note(json.dumps(self.get(what).get("status"), indent=1))
            raise

    def condition(self, what: str, type_: str) -> Object:
        """A condition of an object; {} while there is none."""
        found: Object = next(
            (c for c in self.get(what).get("status", {}).get("conditions", []) if c["type"] == type_), {}
        )
        return found

    def everything(self) -> set[str]:
        """What is in the namespace, but for what every namespace has and for records of what happened."""
        kinds = run("kubectl", "api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        noise = {"events", "events.events.k8s.io"}
        listed = self("get", ",".join(kind for kind in kinds if kind not in noise), "-o", "name").split()
        return set(listed) - {"configmap/kube-root-ca.crt", "serviceaccount/default"} - _metrics(listed)

    def cluster_wide(self) -> list[str]:
        """Kind and name of what the namespace's releases have outside of it."""
        kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingwebhookconfigurations"
        items = json.loads(run("kubectl", "get", kinds, "-o", "json"))["items"]
        owner = "meta.helm.sh/release-namespace"
        return [
            f"{item['kind']} {item['metadata']['name']}"
            for item in items
            if item["metadata"].get("annotations", {}).get(owner) == self.namespace
        ]


def _metrics(listed: Sequence[str]) -> set[str]:
    return {name for name in listed if name.startswith("podmetrics")}


def until(true: Callable[[], bool], seconds: float, what: str, pause: float = 0.5) -> None:
    """Waits.

    Raises:
        TimeoutError: it did not become true.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


@contextlib.contextmanager
def forwarded(namespace: str, target: str, port: int) -> Iterator[str]:
    """``kubectl port-forward`` on a free port of this machine; the base URL."""
    command = ["kubectl", "--namespace", namespace, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", said)
            if found is None:
                raise CommandError(f"{' '.join(command)}: {said or 'no answer'}")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()


if __name__ == "__main__":  # says before anything is built whether this cluster may be used
    try:
        print(f"cluster: {checked_context()}")
    except CommandError as error:
        raise SystemExit(f"e2e: {error}") from error
