"""``matte traffic drive`` as people run it, against a real frontend and a worker whose weights move."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from integration.frontend import worker
from integration.frontend.processes import FrontendProcess, environment, running
from matte_core.contracts.catalog import Arm, Route, RouteTable
from matte_jobs.catalog import CatalogStore
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore, Lease

pytestmark = pytest.mark.integration
#: what the frontend's catalog and the settling of the windows take here, in seconds
CATALOG, SETTLE = "0.1", "0.4"


def table(model: str, new: int) -> RouteTable:
    arms = (Arm(version="1.0.0", weight=100 - new), Arm(version="2.0.0", weight=new))
    changed = Route(model=model, arms=arms)
    others = tuple(route for route in worker.TABLE.routes if route.model != model)
    return RouteTable(default_model="cut", routes=(changed, *others))


@dataclass
class Slowly(worker.Worker):
    """Takes ``seconds`` for every picture."""

    seconds: float = 0.0
    begun: int = 0
    noticed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, lease: Lease) -> None:
        async with self.noticed:
            self.begun += 1
            self.noticed.notify_all()
        await asyncio.sleep(self.seconds)
        await super().serve(lease)


@dataclass
class Platform:
    url: str
    store: JobStore
    worker: Slowly
    patch: pytest.MonkeyPatch

    async def show(self, found: RouteTable) -> None:
        """What the server says, whatever the worker does."""
        await CatalogStore(self.store).publish("default", found, time.time())

    async def move(self, new: int) -> None:
        """Gives 2.0.0 so many per cent."""
        self.patch.setattr(worker, "TABLE", table("cut", new))
        await self.show(worker.TABLE)

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "matte_cli", "traffic", "drive", "--url", self.url, "--settle", SETTLE]
        return await asyncio.create_subprocess_exec(
            *command, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )

    async def wait_for_pictures(self, pictures: int) -> None:
        """Waits until the worker has begun so many: only then does an interruption meet them."""
        async with asyncio.timeout(60), self.worker.noticed:
            await self.worker.noticed.wait_for(lambda: self.worker.begun >= pictures)


@dataclass(frozen=True)
class Ended:
    code: int | None
    text: str
    report: dict[str, Any]


async def ended(process: asyncio.subprocess.Process, report: Path) -> Ended:
    text, _ = await asyncio.wait_for(process.communicate(), 60)
    return Ended(process.returncode, text.decode(), json.loads(await asyncio.to_thread(report.read_text)))


@pytest.fixture(scope="module")
def frontend(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a frontend, and the prefix of its keys."""
    prefix = f"d{uuid.uuid4().hex[:8]}:"
    env = environment(redis_server.url, prefix, MATTE_CATALOG_SECONDS=CATALOG, MATTE_SHUTDOWN_SECONDS="1")
    process = FrontendProcess(env, tmp_path_factory.mktemp("drive") / "frontend.log")
    with running(process):
        yield process.url, prefix


@pytest.fixture
async def platform(
    frontend: tuple[str, str], redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Platform]:
    url, prefix = frontend
    store = JobStore.open(StoreSettings(redis_url=redis_server.url, redis_prefix=prefix))
    serving = Slowly(store, slow_seconds=0.0, prepared=None)
    task = asyncio.create_task(serving.run())
    found = Platform(url, store, serving, monkeypatch)
    await found.move(0)
    yield found
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await store.close()


async def test_weights_move_and_nobody_is_hurt(platform: Platform, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    process = await platform.start("--rate", "20/s", "--duration", "9s", "--json", str(report))
    await asyncio.sleep(1.0)  # the command starts
    for new in (50, 100):
        await asyncio.sleep(3.0)
        await platform.move(new)
    found = await ended(process, report)
    assert found.code == 0, found.text
    document = found.report
    assert (document["passed"], document["failed"], document["sent"], document["answered"]) == (True, 0, 180, 180)
    assert [change["weights"] for change in document["weights"]] == [
        {"1.0.0": 100, "2.0.0": 0}, {"1.0.0": 50, "2.0.0": 50}, {"1.0.0": 0, "2.0.0": 100},
    ]  # fmt: skip
    first, between, last = document["splits"]
    for split, version in ((first, "1.0.0"), (last, "2.0.0")):
        assert split["counted"] >= 10
        assert [share["seen"] for share in split["shares"] if share["version"] == version] == [split["counted"]]
        assert all(share["within"] for share in split["shares"])
    # a draw: 99 % of the runs are within, so only what no sound run can show is asserted
    assert all(share["seen"] > 0 for share in between["shares"])
    assert "0 failed: 180 pictures" in found.text
    assert "5 s: sent" in found.text
    assert {arm["version"] for arm in document["latencies"]} == {"1.0.0", "2.0.0"}
    assert all(arm["p95"] > 0 for arm in document["latencies"])


async def test_a_split_that_is_not_the_one_asked(platform: Platform, tmp_path: Path) -> None:
    await platform.show(table("cut", 50))  # but the worker gives all to 1.0.0
    report = tmp_path / "report.json"
    users = ("--key-from", "60")
    found = await ended(
        await platform.start("--requests", "60", "--concurrency", "2", *users, "--json", str(report)), report
    )
    assert found.code == 0, found.text
    (split,) = found.report["splits"]
    assert (split["counted"], split["unit"]) == (60, "users")
    assert [share["within"] for share in split["shares"]] == [False, False]
    assert "the asked share lies outside" in found.text
    assert found.report["asked"]["key_header"] == "X-Route-Key"


async def test_failures_are_named(platform: Platform, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    found = await ended(await platform.start("--model", "broken", "--requests", "3", "--json", str(report)), report)
    assert found.code == 1
    assert found.report["failures"] == {"out_of_memory": 3}
    assert [failure["code"] for failure in found.report["first_failures"]] == ["out_of_memory"] * 3
    assert all(failure["job"] for failure in found.report["first_failures"])
    assert "✗ 3 failed (out_of_memory 3×)" in found.text


async def test_a_slow_server_is_seen(platform: Platform, tmp_path: Path) -> None:
    platform.worker.seconds = 1.0
    report = tmp_path / "report.json"
    process = await platform.start("--rate", "10/s", "--duration", "3", "--concurrency", "4", "--json", str(report))
    found = await ended(process, report)
    assert found.code == 0, found.text
    assert found.report["unsent"] >= 10
    assert found.report["sent"] + found.report["unsent"] == 30
    assert found.report["sent_late"] >= 5
    assert found.report["latencies"][0]["longest"] > 2.0  # 1 s in the model, and more of waiting since it was due


async def test_ctrl_c_ends_and_reports(platform: Platform, tmp_path: Path) -> None:
    platform.worker.seconds = 0.3
    report = tmp_path / "report.json"
    process = await platform.start("--rate", "10/s", "--duration", "1h", "--json", str(report))
    await platform.wait_for_pictures(6)
    process.send_signal(signal.SIGINT)
    found = await ended(process, report)
    assert found.code == 0, found.text
    assert (found.report["interrupted"], found.report["abandoned"]) == (True, 0)
    assert 5 < found.report["answered"] == found.report["sent"] < 60
    assert "ended early" in found.text


async def test_ctrl_c_twice_does_not_wait(platform: Platform, tmp_path: Path) -> None:
    platform.worker.seconds = 30.0
    report = tmp_path / "report.json"
    process = await platform.start("--requests", "9", "--concurrency", "2", "--json", str(report))
    assert process.stdout is not None
    await platform.wait_for_pictures(2)
    process.send_signal(signal.SIGINT)
    assert b"ending" in await asyncio.wait_for(process.stdout.readuntil(b"gives it up\n"), 10)
    process.send_signal(signal.SIGINT)
    found = await ended(process, report)
    assert found.code == 1
    assert (found.report["sent"], found.report["abandoned"], found.report["failed"]) == (2, 2, 0)
    assert "nothing was answered" in found.text
