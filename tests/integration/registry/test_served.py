"""A version goes from a folder through a bucket to people: pushed, checked by the router, pinned, and served."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import obstore
import pytest
from matte_cli.main import app
from matte_core.contracts.evidence import CheckOrder, CheckReport, CheckState
from matte_inference.families.unet import MODELS
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from matte_operator.domain.deploy_errors import parse_deploy_error
from obstore.store import S3Store
from pool import Pool, router_app, table, version_app
from skimage import data
from stack import Stack, frontends_only
from typer.testing import CliRunner

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@dataclass
class CheckedPool:
    """A frontend and a pool whose node has nothing of any version."""

    stack: Stack
    pool: Pool
    cache: Path

    def check(self, order: CheckOrder) -> CheckReport:
        """What a router says of an order."""
        return asyncio.run(self._check(order))

    async def _check(self, order: CheckOrder) -> CheckReport:
        store = JobStore.open(StoreSettings(redis_url=self.stack.redis.url))
        evidence = EvidenceStore(store)
        await evidence.order_check("main", order)
        async with asyncio.timeout(60):
            report = None
            while report is None or report.state is CheckState.RUNNING:
                await asyncio.sleep(0.2)
                report = await evidence.check_report("main", order.model, order.version)
        await store.close()
        return report

    def cached(self) -> list[str]:
        return sorted(folder.name for folder in (self.cache / "versions" / "sha256").iterdir())


@pytest.fixture
def checked_pool(s3: str, tmp_path: Path) -> Iterator[CheckedPool]:
    assert s3.startswith("s3://")
    assert os.environ["AWS_ENDPOINT"]  # the pool inherits it
    with frontends_only(tmp_path / "stack") as stack:
        cache = tmp_path / "cache"
        pool = Pool.start("main", tmp_path, {**stack.environment, "MATTE_CACHE_DIR": str(cache)})
        yield CheckedPool(stack, pool, cache)
        pool.kill()


def push(folder: Path, target: str) -> tuple[str, str]:
    """Source and digest, as the command says them."""
    done = CliRunner().invoke(app, ["models", "push", str(folder), target, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    return said["source"], said["digest"]


def tamper(source: str) -> None:
    """Other weights under the same name, of the same size."""
    bucket, _, path = source.removeprefix("s3://").partition("/")
    store = S3Store(bucket, prefix=path, client_options={"allow_http": True})
    weights = bytearray(bytes(obstore.get(store, "model.safetensors").bytes()))
    weights[-1] ^= 1
    obstore.put(store, "model.safetensors", bytes(weights))


def predicted(stack: Stack) -> httpx.Response:
    photo = cv2.imencode(".jpg", cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))[1].tobytes()
    url = f"{stack.url}/models/portrait/predict"
    return httpx.post(url, content=photo, headers={"Content-Type": "image/jpeg"}, timeout=60)


def test_a_pushed_version_is_checked_and_served_and_a_tampered_one_is_not(s3: str, checked_pool: CheckedPool) -> None:
    source, digest = push(MODELS / "unet-2.0.0", f"{s3}/2.0.0")
    routes = router_app(table("portrait", portrait={"2.0.0": 100}))
    good = version_app("portrait", "2.0.0", "unet", source=source, digest=digest, num_cpus=0.1)
    checked_pool.pool.deploy(router_app(table(None)))
    checked_pool.pool.wait_running("router")

    order = CheckOrder(model="portrait", version="2.0.0", attempt=0, source=source, allowed_licenses=("Apache-2.0",))
    report = checked_pool.check(order)
    assert (report.state, report.digest, report.license) == (CheckState.PASSED, digest, "Apache-2.0")
    checked_pool.pool.deploy(good, routes)
    checked_pool.pool.wait_running("portrait-2-0-0", "router")
    checked_pool.stack.wait_ready(["portrait"])
    answer = predicted(checked_pool.stack)
    assert (answer.status_code, answer.headers["X-Model-Digest"]) == (200, digest)
    assert checked_pool.cached() == [digest.removeprefix("sha256:")]

    bad_source, bad_digest = push(MODELS / "unet-1.0.0", f"{s3}/3.0.0")
    tamper(bad_source)
    report = checked_pool.check(
        CheckOrder(model="portrait", version="3.0.0", attempt=0, source=bad_source, digest=bad_digest)
    )
    assert (report.state, report.reason) == (CheckState.FAILED, "DigestMismatch")
    _refused(checked_pool, good, routes, version_app("portrait", "3.0.0", "unet", source=bad_source, digest=bad_digest))
    assert checked_pool.cached() == [digest.removeprefix("sha256:")]
    assert predicted(checked_pool.stack).status_code == 200


def _refused(checked_pool: CheckedPool, good: dict[str, Any], routes: dict[str, Any], bad: dict[str, Any]) -> None:
    """The replica itself says so, whoever started it; in words that the operator can show."""
    checked_pool.pool.deploy(good, bad, routes)
    found = checked_pool.pool.wait(lambda apps: "Mismatch" in apps.get("portrait-3-0-0", ("", ""))[1])
    reason, text = parse_deploy_error(found["portrait-3-0-0"][1])
    assert reason == "DigestMismatch"
    assert "model.safetensors has the SHA-256" in text
    assert "Traceback" not in text
