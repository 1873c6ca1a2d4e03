"""Starts Ray's processes on one machine, listening on loopback only, with files that no other user can read."""

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

from matte_inference.settings import runtime_folder, set_environment

LOOPBACK = "127.0.0.1"
#: Ray's object store: only references to pictures pass through Ray (bytes; Ray's minimum is 75 MB)
OBJECT_STORE_BYTES = 100_000_000
#: a Unix socket's path has at most 107 bytes, of which Ray adds 64 to its folder
MAX_FOLDER_LENGTH = 42


class InsecureFolderError(RuntimeError):
    """Another user could read or replace Ray's files."""


class LoopbackNode(Node):  # type: ignore[misc] # Ray has no types
    """A head node that only this machine can reach.

    ``ray.init`` replaces 127.0.0.1 by this machine's outer address on Linux, and Ray's programs listen on all
    interfaces unless their own address is 127.0.0.1. So the node is made here, as ``ray.init`` and ``ray start`` do.
    """

    watched = True

    def start_api_server(self, **_: Any) -> None:
        """Omitted: without a dashboard it serves only its own metrics."""

    def connect(self) -> None:
        """Makes this process a driver of the node."""
        worker._global_node = self  # Ray asks it for this machine's address, which is then the loopback one here too
        ray.init(address=self.gcs_address, log_to_driver=False, logging_level="warning", configure_logging=True)

    def end(self) -> None:
        self.kill_all_processes(check_alive=False, allow_graceful=True)
        shutil.rmtree(self.get_temp_dir_path(), ignore_errors=True)

    def watch(self, on_exit: Callable[[str], None]) -> None:
        """Calls ``on_exit`` with a reason, from another thread, if the GCS or the raylet ends.

        Ray does not report either: without its raylet nothing is restarted, and without its GCS it gives up after a
        minute. Serve's controller is not watched: the GCS restarts it, and the replicas keep running meanwhile.
        """
        for name in ("gcs_server", "raylet"):
            process = self.all_processes[name][0].process

            def wait(name: str = name, process: Any = process) -> None:
                status = process.wait()
                how = f"by signal {-status}" if status < 0 else f"with status {status}"
                if self.watched:
                    on_exit(f"Ray's {name} (process {process.pid}) ended {how}")

            threading.Thread(target=wait, name=f"watch-{name}", daemon=True).start()


def start_node(folder: Path, *, num_cpus: int, metrics_port: int) -> LoopbackNode:
    """Starts Ray's processes with their files in ``folder``, which is empty."""
    token = folder / "auth_token"
    with open(token, "x", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    set_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    Config.initialize("")  # Ray read its environment when it was imported
    return LoopbackNode(
        RayParams(
            node_ip_address=LOOPBACK,
            num_cpus=num_cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            temp_dir=str(folder),
            include_dashboard=False,
            include_log_monitor=False,  # it copies the workers' logs to a driver that does not need them
            no_monitor=True,  # nothing is scaled here
            metrics_export_port=metrics_port or None,
        ),
        head=True,
        shutdown_at_exit=False,
        spawn_reaper=True,
        ray_init_cluster=True,
    )


def private_folder(instance: str) -> Path:
    """An empty folder that is short enough for Ray's sockets and closed to other users. It is named ``instance``, so
    that the next start finds and empties it; '' for a new one. Raises InsecureFolderError if another user made its
    parent.
    """
    runtime = runtime_folder()
    short = runtime is not None and len(str(runtime)) < MAX_FOLDER_LENGTH - 20
    base = runtime / "matte" if runtime and short else Path(f"/tmp/matte-{os.getuid()}")  # noqa: S108 - owner and mode are checked
    base.mkdir(mode=0o700, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise InsecureFolderError(f"{base} belongs to another user; Ray's files would be theirs to change. Remove it.")
    if stat.S_IMODE(status.st_mode) & 0o077:
        base.chmod(0o700)
    if not instance:
        return Path(tempfile.mkdtemp(dir=base))
    folder = base / instance
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    return folder
