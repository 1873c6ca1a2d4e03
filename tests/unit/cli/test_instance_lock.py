from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from matte_cli.instance_lock import InstanceLock, InUseError, check_ports, end_leftovers, port_free
from matte_core.domain.addresses import is_loopback


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    lock = InstanceLock.acquire(tmp_path / "data")
    lock.write(pid=123, url="http://127.0.0.1:9", children={"frontend": 5})
    with pytest.raises(InUseError, match=r"process 123.*--data-dir"):
        InstanceLock.acquire(tmp_path / "data")
    lock.release()
    again = InstanceLock.acquire(tmp_path / "data")
    assert again.previous_children() == []
    again.release()


def test_what_a_killed_holder_left_is_known(tmp_path: Path) -> None:
    lock = InstanceLock.acquire(tmp_path)
    lock.write(children={"frontend": 5, "Redis": 6})
    lock.file.close()  # as a kill does
    again = InstanceLock.acquire(tmp_path)
    assert again.previous_children() == [5, 6]
    again.release()


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    aof = tmp_path / "redis" / "appendonly.aof"
    aof.touch(0o644)
    tmp_path.chmod(0o755)
    InstanceLock.acquire(tmp_path).release()
    assert [path.stat().st_mode & 0o777 for path in (tmp_path, aof.parent, aof)] == [0o700, 0o700, 0o600]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(InUseError, match="another user"):
        InstanceLock.acquire(tmp_path)


def test_a_taken_port_is_named_with_a_free_one() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert not port_free("127.0.0.1", port)
        with pytest.raises(InUseError, match=rf"port {port} .*--port \d+"):
            check_ports("127.0.0.1", [port])
    assert port_free("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "yes"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::", False),
        ("0.0.0.0", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, *, yes: bool) -> None:
    assert is_loopback(host) is yes


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_only_our_leftovers_are_ended() -> None:
    sleep = "import time; time.sleep(60)"
    writing = f"import signal; signal.signal(signal.SIGTERM, lambda *_: exit(7)); print('up', flush=True); {sleep}"
    store = subprocess.Popen(
        [sys.executable, "-c", writing, "redis-server"], start_new_session=True, stdout=subprocess.PIPE
    )
    assert store.stdout is not None
    store.stdout.readline()
    watched = psutil.Process(store.pid)
    leftover = subprocess.Popen([sys.executable, "-c", sleep, "matte_frontend"], start_new_session=True)
    other = subprocess.Popen([sys.executable, "-c", sleep, "something else"], start_new_session=True)
    said: list[str] = []
    try:
        end_leftovers([leftover.pid, other.pid, store.pid, 2**22 + 1], said.append, patience=5)
        assert not watched.is_running()
        assert leftover.wait(5) == -signal.SIGKILL
        assert other.poll() is None
        assert len(said) == 1
    finally:
        store.stdout.close()
        for process in (leftover, other, store):
            process.kill()
            process.wait()
