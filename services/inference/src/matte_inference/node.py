"""Ray's own processes on one machine: they listen on loopback only, and their files are ours alone."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray._private import worker
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._raylet import Config  # type: ignore[attr-defined]

from matte_inference.settings import hand_down, runtime_folder

LOOPBACK = "127.0.0.1"
#: what Ray keeps objects in: handles carry references, so that nothing large goes there (bytes; Ray's least is 75 MB)
OBJECT_STORE_BYTES = 100_000_000
#: a Unix socket's path has at most 107 bytes, and Ray adds 64 of them to its folder
LONGEST_FOLDER = 42


class InsecureFolderError(RuntimeError):
    """Another user could read or replace Ray's files."""


class LoopbackNode(Node):  # type: ignore[misc] # Ray has no types
    """A head node that only this machine can reach.

    ``ray.init`` puts this machine's outer address in the place of 127.0.0.1 on Linux, and Ray's programs listen on all
    interfaces unless their own address is 127.0.0.1. So the node is made here, as ``ray.init`` and ``ray start`` make
    theirs.
    """

    watched = True

    def start_api_server(self, **_: Any) -> None:
        """The dashboard's process is left out: it serves nothing without a dashboard but its own metrics."""

    def connect(self) -> None:
        """Makes this process a driver of the node."""
        worker._global_node = self  # Ray asks it for this machine's address, which is then the loopback one here too
        ray.init(address=self.gcs_address, log_to_driver=False, logging_level="warning", configure_logging=True)

    def end(self) -> None:
        """Ends Ray's processes and removes their files."""
        self.kill_all_processes(check_alive=False, allow_graceful=True)
        shutil.rmtree(self.get_temp_dir_path(), ignore_errors=True)

    def watch(self, ended: Callable[[str], None]) -> None:
        """Calls ``ended`` with a reason, from another thread, as soon as a process ends that Ray cannot do without.

        Ray outlives both in silence: without its raylet nothing is restarted, and without its GCS it gives up after a
        minute. Serve's controller is not watched: the GCS starts it again, and the replicas run on meanwhile.
        """
        for name in ("gcs_server", "raylet"):
            process = self.all_processes[name][0].process

            def wait(name: str = name, process: Any = process) -> None:
                status = process.wait()
                if self.watched:
                    ended(f"Ray's {name} (process {process.pid}) ended {how(status)}")

            threading.Thread(target=wait, name=f"watch-{name}", daemon=True).start()


def how(status: int) -> str:
    """A process' end in words."""
    return f"by signal {-status}" if status < 0 else f"with status {status}"


def start_node(folder: Path, *, num_cpus: int, metrics_port: int) -> LoopbackNode:
    """Starts Ray's processes; files are kept in ``folder``, which is emptied."""
    hand_down(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(new_token(folder)))
    Config.initialize("")  # Ray read its environment when it was imported
    return LoopbackNode(
        RayParams(
            node_ip_address=LOOPBACK,
            num_cpus=num_cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            temp_dir=str(folder),
            include_dashboard=False,
            include_log_monitor=False,  # it copies workers' logs to a driver that does not want them
            no_monitor=True,  # nothing is scaled here
            metrics_export_port=metrics_port or None,
        ),
        head=True,
        shutdown_at_exit=False,
        spawn_reaper=True,
        ray_init_cluster=True,
    )


def new_token(folder: Path) -> Path:
    """A fresh token for this Ray alone."""
    path = folder / "auth_token"
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    return path


def private_folder(instance: str) -> Path:
    """An empty folder that is short enough for Ray's sockets and closed to other users.

    Args:
        instance: names it, so that the next start finds and empties it; '': a new one.

    Raises:
        InsecureFolderError: somebody else made a folder of this name.
    """
    base = _base()
    if not instance:
        return Path(tempfile.mkdtemp(dir=base))
    folder = base / instance
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    return folder


def _base() -> Path:
    runtime = runtime_folder()
    short = runtime is not None and len(str(runtime)) < LONGEST_FOLDER - 20
    base = runtime / "matte" if runtime and short else Path(f"/tmp/matte-{os.getuid()}")  # noqa: S108 - owner and mode are checked
    base.mkdir(mode=0o700, exist_ok=True)
    about = base.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise InsecureFolderError(f"{base} belongs to another user; Ray's files would be theirs to change. Remove it.")
    if stat.S_IMODE(about.st_mode) & 0o077:
        base.chmod(0o700)
    return base
