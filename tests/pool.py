"""A Pool as a process: a Ray with Serve that is told by Serve configurations alone, as KubeRay does it.

Run as a program it reads a line of JSON, the list of applications, deploys them, and answers with a line: null, or
what was wrong; for an empty line it answers with every application's status and messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from stack import Stack


def version_app(model: str, version: str, family: str = "grabcut", **fields: Any) -> dict[str, Any]:
    """A model version as the operator renders it."""
    return {
        "name": f"{model}-{version}".replace(".", "-"),
        "route_prefix": None,
        "import_path": "matte_inference.apps:model_version",
        "args": {"model": model, "version": version, "family": family, **fields},
    }


def router_app(table: Mapping[str, Any]) -> dict[str, Any]:
    """The router as the operator renders it."""
    return {
        "name": "router",
        "route_prefix": None,
        "import_path": "matte_inference.apps:router",
        "args": {"drain_seconds": 5},
        "deployments": [{"name": "Router", "user_config": dict(table)}],
    }


def table(default: str | None, **models: Mapping[str, int]) -> dict[str, Any]:
    """A route table: weights by version, by model."""
    routes = [
        {"model": model, "arms": [{"version": version, "weight": weight} for version, weight in arms.items()]}
        for model, arms in models.items()
    ]
    return {"default_model": default, "routes": routes}


@dataclass
class Pool:
    """A running pool; end it with :meth:`kill`."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, name: str, folder: Path, environment: Mapping[str, str]) -> Pool:
        with (folder / f"pool-{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **environment, "MATTE_POOL": name}, start_new_session=True,
            )  # fmt: skip
        pool = cls(process)
        assert pool._read() == "started"
        return pool

    def _read(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(json.JSONDecodeError):  # libraries print, too
                return json.loads(line)
        raise AssertionError("the pool's process ended")

    def _ask(self, line: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._read()

    def deploy(self, *applications: Mapping[str, Any]) -> None:
        assert self._ask(json.dumps(applications)) is None

    def status(self) -> dict[str, tuple[str, str]]:
        """Status and message by application."""
        return {name: (status, message) for name, (status, message) in self._ask("").items()}

    def wait(self, done: Callable[[dict[str, tuple[str, str]]], bool], seconds: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not done(found := self.status()):
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found

    def wait_running(self, *names: str) -> dict[str, Any]:
        return self.wait(lambda found: all(found.get(name, ("",))[0] == "RUNNING" for name in names))

    def replicas(self) -> set[int]:
        """Process ids of everything that Serve runs."""
        found = set()
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may end while it is looked at
                if any("ServeReplica:" in part for part in process.cmdline()):
                    found.add(process.pid)
        return found

    def kill(self) -> None:
        """At once, as when a node is lost."""
        left = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        for child in left:
            with contextlib.suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(left, timeout=10)


@dataclass(frozen=True)
class PoolStack:
    """A frontend without models of its own, and beside it a pool."""

    stack: Stack
    pool: Pool
    folder: Path


def _deployed(applications: Sequence[Mapping[str, Any]]) -> str | None:
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    try:
        config = ServeDeploySchema.model_validate({"proxy_location": "Disabled", "applications": applications})
        _get_global_client().deploy_apps(config)
    except Exception as error:
        return str(error)
    return None


def _message(app: Any) -> str:
    """What Serve says of the application, and of its deployments: the cause is there only."""
    return "\n".join([app.message, *(f"{name}: {found.message}" for name, found in app.deployments.items())])


def main() -> None:
    from matte_core.contracts.ray_environment import LOCAL_ENVIRONMENT

    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from matte_inference.local import start_serve
    from matte_inference.node import private_folder, start_node
    from ray import serve

    start_serve(start_node(private_folder(""), num_cpus=4, metrics_port=0))
    print(json.dumps("started"), flush=True)
    for line in sys.stdin:
        answer: Any
        if line.strip():
            answer = _deployed(json.loads(line))
        else:
            answer = {name: (app.status, _message(app)) for name, app in serve.status().applications.items()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
