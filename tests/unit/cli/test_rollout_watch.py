"""``matte rollout watch`` ends by itself, and the commands say what is missing."""

from __future__ import annotations

import io
import json
import socket
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from matte_cli.main import app
from matte_cli.rollout.state import Rollout, RolloutError
from matte_cli.rollout.watch import End, Watch
from matte_core.contracts.k8s.rollout import Phase
from rich.console import Console
from rollout_simulation import ERRORS, RolloutSimulation
from typer.testing import CliRunner


class TransientError(RolloutError):
    pass


class Watched:
    """A watch over a simulation in which time passes only while it sleeps."""

    def __init__(
        self, simulation: RolloutSimulation, look: Callable[[], Rollout] | None = None, *, terminal: bool = False
    ) -> None:
        self.simulation = simulation
        self.seconds = 0.0
        self.console = Console(file=io.StringIO(), width=150, force_terminal=terminal, highlight=False)
        self.watch = Watch(look or self.look, TransientError, lambda: self.seconds, lambda: simulation.now, self.sleep)

    def look(self) -> Rollout:
        return Rollout("portrait", self.simulation.spec.version, self.simulation.spec.rollout, self.simulation.status)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.simulation.pass_(seconds)

    def follow(self, timeout: float = 3600) -> End:
        return self.watch.follow(self.console, timeout)

    @property
    def said(self) -> list[str]:
        assert isinstance(self.console.file, io.StringIO)
        return self.console.file.getvalue().splitlines()


def test_a_good_version() -> None:
    found = Watched(RolloutSimulation())
    assert found.follow() is End.SUCCEEDED
    assert found.said[-1] == "portrait 2.0.0: Succeeded: 2.0.0 serves"
    assert len(found.said) == len(set(found.said)), "a line per change"


def test_a_bad_version() -> None:
    found = Watched(RolloutSimulation(answers={"2.0.0": ERRORS}))
    assert found.follow() is End.FAILED
    assert "RolledBack (AnalysisFailed)" in found.said[-1]


def test_time_is_over() -> None:
    found = Watched(RolloutSimulation())
    assert found.follow(20) is End.TIMEOUT
    assert found.seconds == 20
    assert "not over after 20 s" in found.said[-1]


def test_an_api_server_that_is_away_is_waited_for() -> None:
    simulation, tries = RolloutSimulation(), iter([True, False, True])

    def look() -> Rollout:
        if next(tries, False):
            raise TransientError("the cluster's API does not answer")
        return found.look()

    found = Watched(simulation, look)
    assert found.follow() is End.SUCCEEDED
    assert found.said[0] == "the cluster's API does not answer"


def test_what_does_not_mend_itself_ends_it() -> None:
    def look() -> Rollout:
        raise RolloutError("Model portrait is not there")

    with pytest.raises(RolloutError, match="not there"):
        Watched(RolloutSimulation(), look).follow()
    with pytest.raises(RolloutError, match="nothing to wait for"):
        Watched(RolloutSimulation(), lambda: Rollout("portrait", "1.0.0", None, None)).follow()


def test_on_a_terminal_the_last_picture_stays() -> None:
    found = Watched(RolloutSimulation(), terminal=True)
    assert found.follow() is End.SUCCEEDED
    assert found.simulation.phases[-1] is Phase.SUCCEEDED
    last = "\n".join(found.said[-20:])
    assert "Succeeded" in last
    assert "last check" in last


NAMES = ("status", "watch", "promote", "abort", "pause", "resume", "retry", "history")


@pytest.mark.parametrize("name", [*NAMES, "report"])
def test_help(name: str) -> None:
    found = CliRunner().invoke(app, ["rollout", name, "--help"])
    assert found.exit_code == 0
    assert "MODEL" in found.stdout


@pytest.mark.parametrize("name", NAMES)
def test_without_the_client_it_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matte_cli.rollout.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    found = CliRunner().invoke(app, ["rollout", name, "portrait"])
    assert found.exit_code == 1
    assert "pip install 'matte-cli[cluster]'" in found.stderr


def test_without_a_configuration_of_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kube_config = pytest.importorskip("kubernetes.config.kube_config")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    found = CliRunner().invoke(app, ["rollout", "status", "portrait"])
    assert found.exit_code == 1
    assert "kubectl's configuration cannot be used" in found.stderr


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kube_config = pytest.importorskip("kubernetes.config.kube_config")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "config"
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    config.write_text(json.dumps(document))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    found = CliRunner().invoke(app, ["rollout", "promote", "portrait"])
    assert found.exit_code == 1
    assert "the cluster's API does not answer" in found.stderr
    found = CliRunner().invoke(app, ["rollout", "watch", "portrait", "--timeout", "0"])
    assert found.exit_code == 2


def test_it_is_a_plugin_of_kubectl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads(Path("packages/cli/pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["kubectl-matte"].partition(":")
    monkeypatch.setattr(sys, "argv", ["kubectl-matte", "rollout", "status", "--help"])
    with pytest.raises(SystemExit) as caught:
        getattr(import_module(module), name)()
    assert caught.value.code == 0
    assert "kubectl matte rollout status" in capsys.readouterr().out
