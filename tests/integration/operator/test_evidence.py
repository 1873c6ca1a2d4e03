"""What the operator reads of rollouts from a real Redis, and the orders that it gives there."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest
from matte_core.contracts.catalog import Download, Replica
from matte_core.contracts.evidence import (
    Agreement,
    AnswerSample,
    AppliedWeights,
    CheckOrder,
    CheckReport,
    CheckState,
    MirroredPair,
    StartReport,
)
from matte_core.contracts.k8s.common import format_time
from matte_jobs.catalog import CatalogStore
from matte_jobs.evidence import EvidenceStore
from matte_jobs.keys import Keyspace
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from matte_operator.background_loop import BackgroundLoop
from matte_operator.evidence_client import EvidenceClient
from matte_operator.required_evidence import ModelQuery, RequiredEvidence
from unit.operator.builders import NOW

#: of the evidence, in Unix seconds: streams go by Redis' own clock
BEGUN = time.time()
ORDER = CheckOrder(model="m", version="2.0.0", attempt=1, source="file:///models/m")
PASSED = CheckReport(attempt=1, state=CheckState.PASSED, at=BEGUN)
SAME = Agreement(iou=1, boundary=1, alpha_difference=0)
QUESTION = ModelQuery("m", "default", {"1.0.0": "default", "2.0.0": "default"}, "2.0.0")


def asking(*questions: ModelQuery, known: frozenset[tuple[str, str]] | None = None) -> RequiredEvidence:
    versions = frozenset((question.model, version) for question in questions for version in question.pools)
    return RequiredEvidence(questions, (), versions if known is None else known)


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    found = BackgroundLoop()
    yield found
    found.close()


@pytest.fixture
def reports(background: BackgroundLoop, store_settings: StoreSettings) -> EvidenceClient:
    return EvidenceClient(background, store_settings.redis_url, store_settings.redis_prefix)


def replica(name: str, version: str, expires_in: float = 60) -> Replica:
    known = {"family": "grabcut", "digest": "sha256:0", "slots": 1, "expires_at": time.time() + expires_in}
    return Replica.model_validate({"id": name, "model": "m", "version": version, **known})


def do(settings: StoreSettings, work: Any) -> None:
    """Work on the store, as a router or a replica would do it."""

    async def run() -> None:
        store = JobStore.open(settings)
        try:
            await work(EvidenceStore(store), CatalogStore(store))
        finally:
            await store.close()

    asyncio.run(run())


def test_nothing_is_sent_where_nothing_is_asked(background: BackgroundLoop) -> None:
    nobody = EvidenceClient(background, "redis://127.0.0.1:1/0", "x:")
    assert nobody.read(asking(), time.time()) == {}
    assert nobody.write([], [])
    assert background._thread is None


def test_what_is_reported_of_a_model(reports: EvidenceClient, store_settings: StoreSettings) -> None:
    async def report(evidence: EvidenceStore, catalog: CatalogStore) -> None:
        await catalog.announce_replica(replica("a", "1.0.0"), new=True)
        await catalog.announce_replica(replica("b", "2.0.0"), new=True)
        await catalog.announce_replica(replica("gone", "2.0.0", expires_in=-1), new=True)
        for name in ("b", "gone"):
            start = StartReport(replica=name, at=BEGUN, digest="sha256:0", golden=())
            await evidence.record_start("m", "2.0.0", start)
        for router, weight, expires_in in (("r1", 5, 60), ("r2", 10, 60), ("dead", 90, -1)):
            weights = {"m": {"1.0.0": 100 - weight, "2.0.0": weight}}
            await evidence.record_applied_weights(
                "default", router, AppliedWeights(expires_at=time.time() + expires_in, weights=weights)
            )
        await evidence.report_check("default", "m", "2.0.0", PASSED)
        await evidence.record_answer("m", "2.0.0", AnswerSample(at=BEGUN, seconds=0.5))

    do(store_settings, report)
    found = reports.read(asking(QUESTION), time.time())["m"]
    assert found.replicas == {"1.0.0": 1, "2.0.0": 1}
    assert [start.replica for start in found.starts["2.0.0"]] == ["b"]
    assert found.checks == {"2.0.0": PASSED}
    assert sorted(applied.weights["m"]["2.0.0"] for applied in found.applied) == [5, 10]
    assert (found.since, found.answers, found.pairs) == ("", {}, ())


def test_the_downloads_of_replicas_are_read(reports: EvidenceClient, store_settings: StoreSettings) -> None:
    download = Download(done=43_000_000, total=88_000_000)

    async def report(_: EvidenceStore, catalog: CatalogStore) -> None:
        await catalog.report_download("default", "m", "2.0.0", download)
        await catalog.report_download("elsewhere", "m", "1.0.0", download)

    do(store_settings, report)
    assert reports.read(asking(QUESTION), time.time())["m"].downloads == {"2.0.0": download}


def test_a_check_that_is_due_reads_what_was_measured(reports: EvidenceClient, store_settings: StoreSettings) -> None:
    async def report(evidence: EvidenceStore, _: CatalogStore) -> None:
        await evidence.record_answer("m", "1.0.0", AnswerSample(at=BEGUN, seconds=0.25))
        await evidence.record_answer("m", "2.0.0", AnswerSample(at=BEGUN, seconds=0.5, error=True))
        await evidence.record_pair("m", "2.0.0", MirroredPair(at=BEGUN, job="j", agreement=SAME))

    do(store_settings, report)
    since = format_time(NOW)
    found = reports.read(asking(replace(QUESTION, since=since)), time.time())["m"]
    assert found.since == since
    assert [(version, one.seconds, one.error) for version in found.answers for one in found.answers[version]] == [
        ("1.0.0", 0.25, False),
        ("2.0.0", 0.5, True),
    ]
    assert [pair.job for pair in found.pairs] == ["j"]


def test_orders_are_given_and_taken_back(reports: EvidenceClient, store_settings: StoreSettings) -> None:
    assert reports.write([("default", ORDER)], [])
    seen: list[list[CheckOrder]] = []

    async def look(evidence: EvidenceStore, _: CatalogStore) -> None:
        seen.append(await evidence.check_orders("default"))

    do(store_settings, look)
    assert reports.write([], [("default", "m", "2.0.0")])
    do(store_settings, look)
    assert seen == [[ORDER], []]


def test_orders_of_a_model_that_was_deleted_are_forgotten(
    reports: EvidenceClient, store_settings: StoreSettings
) -> None:
    """A Model of the same name begins anew: what was found then does not count."""
    other = ORDER.model_copy(update={"model": "other"})
    assert reports.write([("default", ORDER), ("default", other)], [])
    seen: list[Any] = []

    async def look(evidence: EvidenceStore, _: CatalogStore) -> None:
        await evidence.report_check("default", "m", "2.0.0", PASSED)
        seen.append(await evidence.check_orders("default"))

    do(store_settings, look)
    fresh = ModelQuery("m", "default", {})
    found = reports.read(asking(fresh, known=frozenset({("other", "2.0.0")})), time.time())
    assert found["m"].checks == {}
    do(store_settings, look)
    assert seen[1] == [other]


@pytest.mark.parametrize("there", ["nobody listens", "nobody answers"])
def test_a_redis_that_is_away_delays_a_pass_little(background: BackgroundLoop, there: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if there == "nobody answers":
            silent.listen()
        reports = EvidenceClient(background, f"redis://127.0.0.1:{silent.getsockname()[1]}/0", "x:", timeout=0.5)
        began = time.monotonic()
        assert reports.read(asking(QUESTION), time.time()) == {}
        assert not reports.write([("default", ORDER)], [])
        assert time.monotonic() - began < 2


def test_reports_of_another_release_are_none(reports: EvidenceClient, store_settings: StoreSettings) -> None:
    async def strange(evidence: EvidenceStore, _: CatalogStore) -> None:
        key = Keyspace(store_settings.redis_prefix).check_reports("default")
        await evidence._redis.hset(key, "m@2.0.0", '{"state": "perhaps"}')

    do(store_settings, strange)
    assert reports.read(asking(QUESTION), time.time()) == {}


def test_a_thread_that_never_began_is_closed_too() -> None:
    BackgroundLoop().close()


def test_closing_ends_what_is_under_way() -> None:
    background = BackgroundLoop()
    future = background.start(_long())
    background.close()
    assert future.cancelled()


def _long() -> Coroutine[Any, Any, None]:
    return asyncio.sleep(60)
