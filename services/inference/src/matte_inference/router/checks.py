"""What the operator has ordered to be checked: a version's folder is brought here, and its digest, license and
signature are looked at before anything of it is loaded.

Every router of a Pool does every order; the first verdict of an attempt counts. A router that comes back goes on with
what has none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from matte_core.contracts.evidence import CheckOrder, CheckReport, CheckState
from matte_core.contracts.registry import Reason
from matte_core.domain.backoff import exponential_backoff
from matte_core.domain.license import license_refusal
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from matte_registry.errors import RegistryError
from matte_registry.policy import VerificationPolicy
from matte_registry.progress import OnProgress, Progress
from matte_registry.registry import Ready
from matte_registry.signature import public_key

log = logging.getLogger("matte.checks")

#: versions that are checked at once; the others wait
AT_ONCE = 2
#: seconds between two looks at the orders, and between two reports
OPEN_SECONDS = 1.0
#: the same, while every order has its verdict
IDLE_SECONDS = 2.0


class Source(Protocol):
    """Where versions come from: the registry."""

    def ensure(self, text: str, policy: VerificationPolicy, on_progress: OnProgress) -> Ready:
        """The version's folder on this machine, checked."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """With a source that is away, or a cache that is full. Seconds."""

    first: float = 2.0
    longest: float = 60.0
    all: float = 900.0

    def wait(self, attempt: int) -> float:
        """Before the next try, after ``attempt`` of them."""
        return exponential_backoff(attempt, self.first, self.longest)


class _DroppedError(Exception):
    """The order was taken back, or replaced."""


class _Check:
    """One order while it is carried out. The thread writes ``progress`` and reads ``dropped``."""

    def __init__(self, order: CheckOrder) -> None:
        self.order = order
        self.progress = Progress(0, 0)
        self.message = ""
        self.dropped = threading.Event()
        self.task: asyncio.Task[None] | None = None

    def follow(self, progress: Progress) -> None:
        """Told by the transfer; ends it where nobody wants it any more."""
        self.progress = progress
        if self.dropped.is_set():
            raise _DroppedError

    def drop(self) -> None:
        """Ends it soon."""
        self.dropped.set()
        if self.task is not None:
            self.task.cancel()

    def report(self, state: CheckState, at: float, **found: str | None) -> CheckReport:
        """How far it is."""
        fields = {"message": self.message, **found}
        done, total = self.progress.done, self.progress.total
        return CheckReport.model_validate(
            {"attempt": self.order.attempt, "state": state, "at": at, "done": done, "total": total, **fields}
        )


class Checks:
    """Carries out a Pool's orders until it is canceled.

    Args:
        evidence: has the orders, takes the reports.
        pool: whose orders.
        source: the registry; its methods are called in threads.
        clock: Unix seconds.
        patience: with what may pass by itself.
    """

    def __init__(
        self,
        evidence: EvidenceStore,
        pool: str,
        source: Source,
        *,
        clock: Callable[[], float],
        patience: Patience = Patience(),
    ) -> None:
        self._evidence, self._pool, self._source = evidence, pool, source
        self._clock, self._patience = clock, patience
        self._running: dict[tuple[str, str], _Check] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check")

    async def run(self) -> None:
        """Looks for orders, for good; a store that is away is waited for."""
        try:
            while True:
                try:
                    await self.look()
                except (Problem, ValueError) as error:  # also an order of an operator that knows more than we do
                    log.warning("orders: %s", error)
                await asyncio.sleep(OPEN_SECONDS if self._running else IDLE_SECONDS)
        finally:
            self.close()

    def close(self) -> None:
        """Ends every transfer; a later one goes on with what is there."""
        for check in self._running.values():
            check.drop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> None:
        """Begins with new orders, drops those that are gone, and tells how far the others are.

        Raises:
            Problem: the store is away.
        """
        orders = {(order.model, order.version): order for order in await self._evidence.check_orders(self._pool)}
        for key, check in list(self._running.items()):
            if orders.get(key) != check.order:
                check.drop()
                del self._running[key]
            elif check.task is not None and check.task.done():
                del self._running[key]
        for key, order in orders.items():
            if key in self._running:
                check = self._running[key]
                await self._tell(order, check.report(CheckState.RUNNING, self._clock()))
            elif not await self._judged(order):
                self._begin(key, order)

    def _begin(self, key: tuple[str, str], order: CheckOrder) -> None:
        check = self._running[key] = _Check(order)
        check.task = asyncio.create_task(self._carry_out(check), name=f"check {order.model}@{order.version}")

    async def _judged(self, order: CheckOrder) -> bool:
        found = await self._evidence.check_report(self._pool, order.model, order.version)
        return found is not None and found.attempt == order.attempt and found.state is not CheckState.RUNNING

    async def _tell(self, order: CheckOrder, report: CheckReport) -> None:
        """A verdict stands: who is later does not take it back."""
        if not await self._judged(order):
            await self._evidence.report_check(self._pool, order.model, order.version, report)

    async def _carry_out(self, check: _Check) -> None:
        verdict = await self._verdict(check)
        log.info("%s@%s: %s %s", check.order.model, check.order.version, verdict.state, verdict.message)
        while True:
            try:
                return await self._tell(check.order, verdict)
            except Problem:
                await asyncio.sleep(OPEN_SECONDS)

    async def _verdict(self, check: _Check) -> CheckReport:
        begun, attempt = self._clock(), 0
        while True:
            attempt += 1
            try:
                digest, license = await self._checked(check)
            except RegistryError as error:
                if not error.transient or self._clock() - begun >= self._patience.all:
                    return self._failed(check, error.reason, str(error))
                check.message = f"{error.reason}: {error}"
                await asyncio.sleep(self._patience.wait(attempt))
            except Exception as error:  # a disk that is broken, a client with a mistake
                log.exception("%s@%s could not be checked", check.order.model, check.order.version)
                return self._failed(check, "CheckFailed", f"{type(error).__name__}: {error}")
            else:
                check.message = ""
                return check.report(CheckState.PASSED, self._clock(), digest=digest, license=license)

    def _failed(self, check: _Check, reason: str, message: str) -> CheckReport:
        return check.report(CheckState.FAILED, self._clock(), reason=str(reason), message=message)

    async def _checked(self, check: _Check) -> tuple[str | None, str | None]:
        """Digest and license.

        Raises:
            RegistryError: it is refused, or cannot be had.
        """
        order = check.order
        if order.source is None:
            if why := license_refusal(order.license, order.allowed_licenses):
                raise RegistryError(Reason.LICENSE_REFUSED, why)
            return None, order.license
        keys = tuple(public_key(pem.encode()) for pem in order.public_keys)
        policy = VerificationPolicy(order.digest, keys, order.allowed_licenses, order.license)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._had, order.source, policy, check)

    def _had(self, source: str, policy: VerificationPolicy, check: _Check) -> tuple[str, str | None]:
        ready = self._source.ensure(source, policy, check.follow)
        ready.release()  # here, in the thread: nobody may be waiting for it any more
        return ready.digest, ready.metadata.license if ready.metadata else policy.license
