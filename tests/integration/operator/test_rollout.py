"""Rollouts on a real API server and a real Redis. The test is the router: it takes orders, and says what it found."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from integration.operator.conftest import Stage, end, samples, wait
from integration.operator.test_operator import SMALL, WORKERS
from kubernetes import client
from matte_core.contracts.evidence import AppliedWeights, CheckOrder, CheckReport, CheckState
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from matte_operator.kinds import MODEL, MODEL_VERSION, POOL, RAY_SERVICE
from matte_operator.kube_client import api_client

pytestmark = pytest.mark.cluster
T = TypeVar("T")
DIGEST = f"sha256:{'a' * 64}"


class Router:
    """What a Pool's router says in Redis."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings

    def orders(self) -> list[CheckOrder]:
        return self._do(lambda store: EvidenceStore(store).check_orders("default"))

    def report(self, order: CheckOrder, state: CheckState, **found: Any) -> None:
        report = CheckReport(attempt=order.attempt, state=state, at=time.time(), **found)
        self._do(lambda store: EvidenceStore(store).report_check("default", order.model, order.version, report))

    def live(self) -> None:
        """It uses no table yet, and says so for an hour."""
        applied = AppliedWeights(expires_at=time.time() + 3600, weights={})
        self._do(lambda store: EvidenceStore(store).record_applied_weights("default", "router", applied))

    def commands(self) -> int:
        """That Redis was given so far."""

        async def count(store: JobStore) -> int:
            return int((await store.redis.info("stats"))["total_commands_processed"])

        return self._do(count)

    def _do(self, work: Callable[[JobStore], Awaitable[T]]) -> T:
        async def run() -> T:
            store = JobStore.open(self.settings)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())


@pytest.fixture(scope="module")
def router(redis_server: EmbeddedRedis) -> Router:
    return Router(StoreSettings(redis_url=redis_server.url, redis_prefix="operator:"))


@pytest.fixture(scope="module")
def served(stage: Stage, router: Router) -> Iterator[Stage]:
    process = stage.start(redis_url=router.settings.redis_url, redis_prefix=router.settings.redis_prefix)
    router.live()
    stage.put(POOL, "default", head=SMALL, workers=WORKERS, allowedLicenses=["MIT"])
    put(stage, "1.0.0")
    yield stage
    end(process)
    assert "Traceback" not in stage.log.read_text()


def put(stage: Stage, version: str, **rollout: Any) -> None:
    spec = {"family": "unet", "source": f"s3://models/{version}", "version": version, "rollout": rollout}
    stage.put(MODEL, "portrait", **spec)


def phase(stage: Stage) -> str:
    return str(rollout(stage).get("phase"))


def rollout(stage: Stage) -> dict[str, Any]:
    body = stage.kube.get(MODEL, "portrait") or {}
    found: dict[str, Any] = body.get("status", {}).get("rollout", {})
    return found


def apps(stage: Stage) -> dict[str, dict[str, Any]]:
    """The versions' applications, by name."""
    body = stage.kube.get(RAY_SERVICE, "matte-default")
    assert body is not None
    config = json.loads(body["spec"]["serveConfigV2"])
    return {app["name"]: app for app in config["applications"][1:]}


def order_for(router: Router, version: str) -> CheckOrder:
    wait(lambda: version in {order.version for order in router.orders()})
    return next(order for order in router.orders() if order.version == version)


def event_reasons(stage: Stage) -> list[str]:
    """Reasons of the Model's Events about its rollout, oldest first."""
    found = client.CoreV1Api(api_client()).list_namespaced_event(
        stage.namespace, field_selector="involvedObject.kind=Model,involvedObject.name=portrait"
    )
    ordered = sorted(found.items, key=lambda event: int(event.metadata.resource_version or 0))
    return [reason for event in ordered if "Roll" in (reason := event.reason or "")]


def test_a_version_whose_folder_is_another_never_starts(served: Stage, router: Router) -> None:
    order = order_for(router, "1.0.0")
    assert (order.source, order.allowed_licenses, order.attempt) == ("s3://models/1.0.0", ("MIT",), 1)
    assert apps(served) == {}
    router.report(order, CheckState.FAILED, reason="DigestMismatch", message="it is another one")
    began = time.monotonic()
    wait(lambda: phase(served) == "Failed")
    print(f"a failed check to its end: {time.monotonic() - began:.1f} s")
    assert rollout(served)["cause"] == "VerificationFailed"
    assert served.condition(MODEL, "portrait", "Stalled")[0] == "True"
    assert "DigestMismatch: it is another one" in served.condition(MODEL, "portrait", "Progressing")[2]
    assert apps(served) == {}
    assert event_reasons(served) == ["RolloutStarted", "RolloutFailed"]


def test_at_rest_redis_and_the_api_are_left_alone(served: Stage, router: Router) -> None:
    time.sleep(20)  # a busy machine's last pass comes late
    calls, commands, began = samples(served), router.commands(), time.monotonic()
    time.sleep(30)
    minutes = (time.monotonic() - began) / 60
    between = router.commands() - commands
    own = router.commands() - router.commands()
    print(f"calls of the API per minute: {(samples(served) - calls) / minutes:.1f}")
    assert between <= -2 * own  # only what asks here
    assert (samples(served) - calls) / minutes <= 20  # the kubelet tries the image again now and then


def test_a_version_that_passes_is_pinned_and_starts(served: Stage, router: Router) -> None:
    put(served, "2.0.0")
    order = order_for(router, "2.0.0")
    router.report(order, CheckState.PASSED, digest=DIGEST, license="MIT")
    wait(lambda: phase(served) == "Starting")
    wait(lambda: "portrait-2-0-0" in apps(served))
    assert apps(served)["portrait-2-0-0"]["args"]["digest"] == DIGEST
    body = served.kube.get(MODEL_VERSION, "portrait-2-0-0")
    assert body is not None
    assert body["status"]["digest"] == DIGEST
    assert body["status"]["rollout"]["phase"] == "Starting"


def test_a_rollout_that_waits_polls_redis_and_hardly_the_api(served: Stage, router: Router) -> None:
    time.sleep(3)
    calls, commands, began = samples(served), router.commands(), time.monotonic()
    time.sleep(30)
    minutes = (time.monotonic() - began) / 60
    print(f"calls of the API per minute, during a rollout: {(samples(served) - calls) / minutes:.1f}")
    assert router.commands() - commands > 50
    assert (samples(served) - calls) / minutes <= 60


def test_an_abort_ends_it_and_its_application_within_seconds(served: Stage) -> None:
    began = time.monotonic()
    put(served, "2.0.0", request={"action": "abort", "version": "2.0.0"})
    wait(lambda: phase(served) == "RolledBack" and apps(served) == {}, seconds=10)
    print(f"abort to its end: {time.monotonic() - began:.1f} s")
    assert rollout(served)["cause"] == "Aborted"
    assert served.condition(MODEL, "portrait", "Stalled")[0] == "False"
    assert event_reasons(served)[-1] == "RolledBack"


def test_a_model_that_is_made_again_begins_anew(served: Stage, router: Router) -> None:
    served.kube.delete(MODEL, "portrait")
    wait(lambda: served.kube.get(MODEL_VERSION, "portrait-2-0-0") is None)
    put(served, "2.0.0")
    wait(lambda: phase(served) == "Verifying")
    time.sleep(4)  # the report of before would have been taken by now
    assert phase(served) == "Verifying"
    assert order_for(router, "2.0.0").attempt == 1
