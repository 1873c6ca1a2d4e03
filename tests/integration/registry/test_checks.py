"""Orders of the operator, carried out with a real Redis and real sources."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from integration.registry.conftest import files_of, write
from matte_core.contracts.evidence import CheckOrder, CheckReport, CheckState
from matte_core.contracts.registry import Reason
from matte_inference.router.background import RetryPolicy, VersionChecker
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore
from matte_registry.errors import RegistryError
from matte_registry.policy import ACCEPT_ANY, VerificationPolicy
from matte_registry.progress import OnProgress, Progress
from matte_registry.registry import Ready, Registry
from matte_registry.settings import RegistrySettings

pytestmark = pytest.mark.timeout(120)
T = TypeVar("T")
POOL = "gpu"
QUICK = RetryPolicy(first=0.05, longest=0.1, total=0.6)


@pytest.fixture
def evidence(store: JobStore) -> EvidenceStore:
    return EvidenceStore(store)


@pytest.fixture
def registry(settings: RegistrySettings) -> Registry:
    return Registry(settings)


def ordered(source: str | None, attempt: int = 0, **values: Any) -> CheckOrder:
    return CheckOrder(model="m", version="2.0.0", attempt=attempt, source=source, **values)


@contextlib.asynccontextmanager
async def routers(evidence: EvidenceStore, sources: Sequence[Any], retry: RetryPolicy = QUICK) -> AsyncIterator[None]:
    checks = [VersionChecker(evidence, POOL, source, clock=time.time, retry=retry) for source in sources]
    tasks = [asyncio.create_task(each.run()) for each in checks]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(found: Callable[[], Awaitable[T | None]], seconds: float = 20.0) -> T:
    async with asyncio.timeout(seconds):
        while (report := await found()) is None:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)
    return report


async def verdict(evidence: EvidenceStore, attempt: int = 0) -> CheckReport:
    async def judged() -> CheckReport | None:
        report = await evidence.check_report(POOL, "m", "2.0.0")
        over = report is not None and report.attempt == attempt and report.state is not CheckState.RUNNING
        return report if over else None

    return await eventually(judged)


async def judge(evidence: EvidenceStore, source: Any, order: CheckOrder) -> CheckReport:
    """What one router says of one order."""
    await evidence.order_check(POOL, order)
    async with routers(evidence, [source]):
        return await verdict(evidence, order.attempt)


def folder_with_license(tmp_path: Path, license: str) -> Path:
    return write(tmp_path / license, files_of(count=1000, metadata=f"family: unet\nlicense: {license}\n"))


# --- verdicts -----------------------------------------------------------------------------------------------------


async def test_a_sound_version_passes_with_its_digest_and_license(
    evidence: EvidenceStore, registry: Registry, s3: str, folder: Path
) -> None:
    pushed = registry.push(folder, f"{s3}/2.0.0")
    order = ordered(pushed.source, digest=pushed.digest, allowed_licenses=("MIT", "Apache-2.0"))
    report = await judge(evidence, registry, order)
    assert (report.state, report.digest, report.license) == (CheckState.PASSED, pushed.digest, "Apache-2.0")
    assert report.done == report.total > 800_000
    assert registry.cache.digests() == [pushed.digest]


@pytest.mark.parametrize("license", [None, "MIT"])
async def test_a_non_commercial_model_must_be_named_by_the_model(
    license: str | None, evidence: EvidenceStore, registry: Registry
) -> None:
    order = ordered("catalog://rmbg@2.0.0", license=license, allowed_licenses=("CC-BY-NC-4.0",))
    report = await judge(evidence, registry, order)
    assert (report.state, report.reason) == (CheckState.FAILED, Reason.LICENSE_REFUSED)
    assert "license: CC-BY-NC-4.0 in the Model" in report.message


async def test_what_was_swapped_in_the_bucket_fails(
    evidence: EvidenceStore, registry: Registry, s3: str, tmp_path: Path
) -> None:
    first = registry.push(write(tmp_path / "a", files_of(seed=1)), f"{s3}/a")
    second = registry.push(write(tmp_path / "b", files_of(seed=2)), f"{s3}/b")
    report = await judge(evidence, registry, ordered(second.source, digest=first.digest))
    assert (report.state, report.reason) == (CheckState.FAILED, Reason.DIGEST_MISMATCH)
    assert first.digest in report.message
    assert registry.cache.digests() == []


@pytest.mark.parametrize(("license", "state"), [("MIT", CheckState.PASSED), ("CC-BY-NC-4.0", CheckState.FAILED)])
async def test_the_folders_license_counts(
    license: str, state: CheckState, evidence: EvidenceStore, registry: Registry, tmp_path: Path
) -> None:
    folder = folder_with_license(tmp_path, license)
    report = await judge(evidence, registry, ordered(f"file://{folder}", license="MIT", allowed_licenses=("MIT",)))
    assert report.state is state
    assert report.reason == ("" if state is CheckState.PASSED else Reason.LICENSE_REFUSED)


@pytest.mark.parametrize(
    ("license", "state"), [("MIT", CheckState.PASSED), (None, CheckState.FAILED), ("GPL-3.0-only", CheckState.FAILED)]
)
async def test_without_weights_the_license_alone_counts(
    license: str | None, state: CheckState, evidence: EvidenceStore, registry: Registry
) -> None:
    report = await judge(evidence, registry, ordered(None, license=license, allowed_licenses=("MIT",)))
    assert (report.state, report.digest) == (state, None)


async def test_signatures(evidence: EvidenceStore, registry: Registry, s3: str, folder: Path) -> None:
    trusted, unknown = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    pems = [
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for key in (trusted, unknown)
    ]
    pushed = registry.push(folder, f"{s3}/signed", trusted)
    states = [
        (await judge(evidence, registry, ordered(pushed.source, attempt, public_keys=(pem,)))).reason
        for attempt, pem in enumerate([*pems, "no key"])
    ]
    assert states == ["", Reason.SIGNATURE_INVALID, Reason.SIGNATURE_INVALID]


async def test_no_folder_is_told_as_replicas_tell_it(
    evidence: EvidenceStore, registry: Registry, tmp_path: Path
) -> None:
    report = await judge(evidence, registry, ordered(f"file://{tmp_path}/absent"))
    assert (report.state, report.reason) == (CheckState.FAILED, Reason.WEIGHTS_MISSING)
    assert "or correct source" in report.message


# --- what comes in between ----------------------------------------------------------------------------------------


class ReportingRegistry:
    """The registry, with something before it."""

    def __init__(self, registry: Registry, before: Callable[[OnProgress], None]) -> None:
        self.registry, self.before, self.calls = registry, before, 0

    def ensure(self, text: str, policy: VerificationPolicy = ACCEPT_ANY, on_progress: OnProgress = print) -> Ready:
        self.calls += 1
        self.before(on_progress)
        return self.registry.ensure(text, policy, on_progress)


async def test_two_routers_do_it_and_one_verdict_stands(
    evidence: EvidenceStore, settings: RegistrySettings, s3: str, folder: Path
) -> None:
    pushed = Registry(settings).push(folder, f"{s3}/2.0.0")
    both = [ReportingRegistry(Registry(settings), lambda _: None) for _ in range(2)]
    await evidence.order_check(POOL, ordered(pushed.source))
    async with routers(evidence, both):
        report = await verdict(evidence)
        await asyncio.sleep(2.5)  # the slower one is through as well
        assert await evidence.check_report(POOL, "m", "2.0.0") == report
    assert report.state is CheckState.PASSED
    assert [each.calls for each in both] == [1, 1]
    assert Registry(settings).cache.digests() == [pushed.digest]


async def test_a_router_that_comes_back_goes_on_and_repeats_nothing(
    evidence: EvidenceStore, registry: Registry, folder: Path
) -> None:
    order = ordered(f"file://{folder}")
    running = CheckReport(attempt=0, state=CheckState.RUNNING, at=0, done=1, total=9)
    await evidence.order_check(POOL, order)
    await evidence.report_check(POOL, "m", "2.0.0", running)  # of one that was killed
    async with routers(evidence, [registry]):
        first = await verdict(evidence)
    again = ReportingRegistry(registry, lambda _: None)
    async with routers(evidence, [again]):
        await asyncio.sleep(0.5)
    assert again.calls == 0
    assert await evidence.check_report(POOL, "m", "2.0.0") == first
    next_attempt = await judge(evidence, again, order.model_copy(update={"attempt": 1}))
    assert (next_attempt.attempt, next_attempt.state, again.calls) == (1, CheckState.PASSED, 1)


async def test_progress_is_told_while_it_lasts(evidence: EvidenceStore, registry: Registry, folder: Path) -> None:
    def slowly(report_progress: OnProgress) -> None:
        report_progress(Progress(300, 1000))
        time.sleep(2.5)

    async def running() -> CheckReport | None:
        report = await evidence.check_report(POOL, "m", "2.0.0")
        return report if report is not None and report.done else None

    await evidence.order_check(POOL, ordered(f"file://{folder}"))
    async with routers(evidence, [ReportingRegistry(registry, slowly)]):
        report = await eventually(running)
        assert (report.state, report.done, report.total) == (CheckState.RUNNING, 300, 1000)
        assert (await verdict(evidence)).state is CheckState.PASSED


async def test_a_source_that_is_away_for_a_while_is_waited_for(
    evidence: EvidenceStore, registry: Registry, folder: Path
) -> None:
    begun = time.monotonic()

    def away(_: OnProgress) -> None:
        if time.monotonic() < begun + 2.5:
            raise RegistryError(Reason.SOURCE_UNAVAILABLE, "the bucket cannot be reached")

    async def said() -> CheckReport | None:
        report = await evidence.check_report(POOL, "m", "2.0.0")
        return report if report is not None and report.message else None

    await evidence.order_check(POOL, ordered(f"file://{folder}"))
    async with routers(evidence, [ReportingRegistry(registry, away)], RetryPolicy(first=0.1, longest=0.2, total=60)):
        report = await eventually(said)
        assert (report.state, report.reason) == (CheckState.RUNNING, "")
        assert report.message == "SourceUnavailable: the bucket cannot be reached"
        report = await verdict(evidence)
    assert (report.state, report.message) == (CheckState.PASSED, "")


async def test_patience_ends(evidence: EvidenceStore, settings: RegistrySettings, folder: Path, s3: str) -> None:
    Registry(settings).push(folder, f"{s3}/2.0.0")
    small = Registry(settings.model_copy(update={"cache_max_bytes": 1000}))
    report = await judge(evidence, small, ordered(f"{s3}/2.0.0"))
    assert (report.state, report.reason) == (CheckState.FAILED, Reason.CACHE_FULL)


async def test_an_order_that_is_taken_back_ends_its_transfer(
    evidence: EvidenceStore, registry: Registry, folder: Path
) -> None:
    stopped: list[str] = []

    def for_ever(report_progress: OnProgress) -> None:
        try:
            while True:
                report_progress(Progress(1, 2))
                time.sleep(0.05)
        except BaseException as error:
            stopped.append(type(error).__name__)
            raise

    await evidence.order_check(POOL, ordered(f"file://{folder}"))
    reporting = ReportingRegistry(registry, for_ever)
    async with routers(evidence, [reporting]):
        await eventually(lambda: asyncio.sleep(0, reporting.calls or None))
        await evidence.delete_version(POOL, "m", "2.0.0")
        await eventually(lambda: asyncio.sleep(0, stopped or None))
        await asyncio.sleep(1.2)
        assert await evidence.check_report(POOL, "m", "2.0.0") is None


async def test_a_mistake_of_ours_is_a_verdict_too(evidence: EvidenceStore, registry: Registry, folder: Path) -> None:
    def breaks(_: OnProgress) -> None:
        raise OSError(5, "Input/output error")

    report = await judge(evidence, ReportingRegistry(registry, breaks), ordered(f"file://{folder}"))
    assert (report.state, report.reason) == (CheckState.FAILED, "CheckFailed")
    assert "Input/output error" in report.message
