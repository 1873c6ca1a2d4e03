"""What the router's process does for its pool besides jobs: it checks versions, and keeps Ray's state in Redis alive.

A version is checked when the operator orders it: its folder is downloaded to this node, and its digest, license and
signature are verified before anything of it is loaded. Every router of a pool carries out every order, and the first
verdict of an attempt counts. A router that restarts carries out the orders that have no verdict yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from matte_core.contracts.evidence import CheckOrder, CheckReport, CheckState
from matte_core.contracts.registry import Reason
from matte_core.domain.backoff import exponential_backoff
from matte_core.domain.license import license_refusal
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore
from matte_registry.catalog import check_terms
from matte_registry.errors import RegistryError
from matte_registry.policy import VerificationPolicy
from matte_registry.progress import Progress
from matte_registry.registry import Registry
from matte_registry.signature import public_key
from matte_registry.sources import parse

from matte_inference.settings import InferenceSettings

log = logging.getLogger("matte.checks")

#: versions that are checked at the same time
MAX_CONCURRENT_CHECKS = 2
#: seconds between two polls for orders, and between two reports of progress: during checks, and otherwise
ACTIVE_SECONDS = 1.0
IDLE_SECONDS = 2.0
#: Ray's state outlives its cluster by so many seconds; a head that is away longer does not come back
RAY_STATE_TTL_SECONDS = 7 * 86400
#: seconds between two refreshes of its expiry
RAY_STATE_REFRESH_SECONDS = 600.0


class BackgroundTasks:
    """Runs from its creation until :meth:`close`. ``store`` stays open."""

    def __init__(self, store: JobStore, settings: InferenceSettings) -> None:
        checker = VersionChecker(EvidenceStore(store), settings.pool, Registry(), clock=time.time)
        self._tasks = [asyncio.create_task(checker.run(), name="checks")]
        if settings.ray_storage:
            keeper = keep_ray_state(store, settings.ray_storage)
            self._tasks.append(asyncio.create_task(keeper, name="ray-state"))

    def healthy(self) -> bool:
        return not any(task.done() for task in self._tasks)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


async def keep_ray_state(store: JobStore, storage: str) -> None:
    while True:
        with contextlib.suppress(Problem):
            await refresh_ray_state(store.redis, storage)
        await asyncio.sleep(RAY_STATE_REFRESH_SECONDS)


async def refresh_ray_state(redis: Any, storage: str) -> int:
    """Sets the expiry of a Ray cluster's state, and returns the number of its keys. ``storage`` is the cluster's
    ``RAY_external_storage_namespace``. Raises ``Problem("storage_unavailable")``.
    """
    keys = [key async for key in redis.scan_iter(match=f"RAY{storage}@*", count=1000)]
    for key in keys:
        await redis.expire(key, RAY_STATE_TTL_SECONDS)
    return len(keys)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff while the source is away or the cache is full, in seconds."""

    first: float = 2.0
    longest: float = 60.0
    total: float = 900.0


class _CanceledError(Exception):
    """The order was retracted or replaced."""


class _Check:
    """An order that is being carried out. The thread writes ``progress`` and reads ``canceled``."""

    def __init__(self, order: CheckOrder) -> None:
        self.order = order
        self.progress = Progress(0, 0)
        self.message = ""
        self.canceled = threading.Event()
        self.task: asyncio.Task[None] | None = None

    def on_progress(self, progress: Progress) -> None:
        self.progress = progress
        if self.canceled.is_set():
            raise _CanceledError

    def cancel(self) -> None:
        self.canceled.set()
        if self.task is not None:
            self.task.cancel()

    def report(self, state: CheckState, at: float, **fields: str | None) -> CheckReport:
        done, total = self.progress.done, self.progress.total
        common = {"attempt": self.order.attempt, "state": state, "at": at, "done": done, "total": total}
        return CheckReport.model_validate({**common, "message": self.message, **fields})


@dataclass(eq=False)
class VersionChecker:
    """Carries out a pool's check orders. ``registry`` is called in threads; ``clock`` gives Unix seconds."""

    evidence: EvidenceStore
    pool: str
    registry: Registry
    clock: Callable[[], float]
    retry: RetryPolicy = RetryPolicy()

    def __post_init__(self) -> None:
        self._running: dict[tuple[str, str], _Check] = {}
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_CHECKS, thread_name_prefix="check")

    async def run(self) -> None:
        """Polls for orders until it is canceled, which ends every download; a later one resumes it."""
        try:
            while True:
                try:
                    await self._poll()
                except (Problem, ValueError) as error:  # ValueError: an order of a newer operator
                    log.warning("check orders: %s", error)
                await asyncio.sleep(ACTIVE_SECONDS if self._running else IDLE_SECONDS)
        finally:
            for check in self._running.values():
                check.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _poll(self) -> None:
        """Starts new orders, cancels those that are gone, and reports the progress of the others."""
        orders = {(order.model, order.version): order for order in await self.evidence.check_orders(self.pool)}
        for key, check in list(self._running.items()):
            if gone := orders.get(key) != check.order:
                check.cancel()
            if gone or (check.task is not None and check.task.done()):
                del self._running[key]
        for key, order in orders.items():
            if key in self._running:
                await self._report(order, self._running[key].report(CheckState.RUNNING, self.clock()))
            elif not await self._has_verdict(order):
                check = self._running[key] = _Check(order)
                check.task = asyncio.create_task(self._carry_out(check), name=f"check {order.model}@{order.version}")

    async def _has_verdict(self, order: CheckOrder) -> bool:
        report = await self.evidence.check_report(self.pool, order.model, order.version)
        return report is not None and report.attempt == order.attempt and report.state is not CheckState.RUNNING

    async def _report(self, order: CheckOrder, report: CheckReport) -> None:
        """Writes a report unless there is a verdict: the first one stands."""
        if not await self._has_verdict(order):
            await self.evidence.report_check(self.pool, order.model, order.version, report)

    async def _carry_out(self, check: _Check) -> None:
        verdict = await self._verdict(check)
        log.info("%s@%s: check %s %s", check.order.model, check.order.version, verdict.state, verdict.message)
        while True:
            try:
                return await self._report(check.order, verdict)
            except Problem:
                await asyncio.sleep(ACTIVE_SECONDS)

    async def _verdict(self, check: _Check) -> CheckReport:
        begun, attempt = self.clock(), 0
        while True:
            attempt += 1
            try:
                digest, license = await self._verify(check)
            except RegistryError as error:
                if not error.transient or self.clock() - begun >= self.retry.total:
                    reason, message = str(error.reason), str(error)
                    return check.report(CheckState.FAILED, self.clock(), reason=reason, message=message)
                check.message = f"{error.reason}: {error}"
                await asyncio.sleep(exponential_backoff(attempt, self.retry.first, self.retry.longest))
            except Exception as error:  # a disk that is broken, a client with a mistake
                log.exception("%s@%s: the check failed", check.order.model, check.order.version)
                message = f"{type(error).__name__}: {error}"
                return check.report(CheckState.FAILED, self.clock(), reason="CheckFailed", message=message)
            else:
                check.message = ""
                return check.report(CheckState.PASSED, self.clock(), digest=digest, license=license)

    async def _verify(self, check: _Check) -> tuple[str | None, str | None]:
        """Digest and license; RegistryError if it is refused or cannot be downloaded."""
        order = check.order
        if order.source is None:
            if why := license_refusal(order.license, order.allowed_licenses):
                raise RegistryError(Reason.LICENSE_REFUSED, why)
            return None, order.license
        source, keys = order.source, tuple(public_key(pem.encode()) for pem in order.public_keys)
        policy = VerificationPolicy(order.digest, keys, order.allowed_licenses, order.license)
        # a replica knows the Model's license alone, not the Pool's list: the Model must name what needs a name
        check_terms(parse(source), frozenset(), order.license)

        def verify() -> tuple[str, str | None]:
            ready = self.registry.ensure(source, policy, check.on_progress)
            ready.release()  # in this thread: the task may have been canceled
            return ready.digest, ready.metadata.license if ready.metadata else policy.license

        return await asyncio.get_running_loop().run_in_executor(self._threads, verify)
