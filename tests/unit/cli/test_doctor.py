from __future__ import annotations

from pathlib import Path

from matte_cli.doctor import (
    disk_check,
    files_check,
    line,
    listeners_check,
    memory_check,
    port_check,
    python_check,
    redis_check,
    server_check,
)
from matte_jobs.embedded import NoRedisServerError


def test_each_fault_says_how_to_mend_it() -> None:
    def none() -> str:
        raise NoRedisServerError("install redis-server")

    faults = [
        python_check((3, 10)),
        redis_check(none),
        memory_check(10**9),
        disk_check(10**8, Path("/data")),
        port_check("127.0.0.1", 7860, free=False, held_by_matte=False),
        server_check("http://x", "the frontend to answer", ()),
        listeners_check([("127.0.0.1", 1, "raylet"), ("::", 2, "gcs_server")]),
        files_check([(Path("/data"), 0o700), (Path("/data/redis/appendonly.aof"), 0o644)]),
    ]
    assert all(not fault.ok and fault.fix for fault in faults)
    assert [fault.needed for fault in faults] == [True, True, True, True, False, False, True, True]
    assert all("→" in line(fault) for fault in faults)


def test_what_is_fine_is_fine() -> None:
    fine = [
        python_check((3, 13)),
        redis_check(lambda: "/usr/bin/redis-server"),
        memory_check(8 * 10**9),
        disk_check(10**11, Path("/data")),
        port_check("127.0.0.1", 7860, free=False, held_by_matte=True),
        server_check("http://x", "", ("grabcut 2.0.0",)),
        listeners_check([("127.0.0.1", 1, "raylet"), ("::ffff:127.0.0.1", 2, "gcs_server")]),
        files_check([(Path("/data"), 0o700)]),
    ]
    assert all(check.ok for check in fine)
    assert all("✓" in line(check) for check in fine)
