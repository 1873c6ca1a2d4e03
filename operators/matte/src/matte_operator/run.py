"""The running operator: kopf watches, a lease decides who acts, one task makes passes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import kopf
from matte_core.domain.backoff import exponential_backoff
from matte_telemetry.names import LEADER, RECONCILE_SECONDS, RECONCILES
from matte_telemetry.prometheus import PrometheusMeter
from matte_telemetry.tracing import end_span, start_span
from opentelemetry.trace import Tracer
from urllib3.exceptions import HTTPError

from matte_operator.cluster import ApiError, explained
from matte_operator.kinds import POD, WATCHED, Body, Kind
from matte_operator.lease import PERIOD, Lease
from matte_operator.observe import essence
from matte_operator.reconcile import Reconciler
from matte_operator.render.pods import POOL_LABEL

log = logging.getLogger("matte.operator")

#: changes come in flocks: a pass waits this long for more of them (seconds)
SETTLE_SECONDS = 0.1
#: at least so long between two passes (seconds), unless a decision asks for less: traffic leaves a bad version
PAUSE_SECONDS = 0.3
#: a watch is made anew after so long (seconds)
WATCH_SECONDS = 3600
#: everything is looked at after this long even if no watch said a word (seconds)
RESYNC_SECONDS = 1800.0
#: before a pass that failed is made again, doubled each time (seconds)
_BACKOFF_FIRST, _BACKOFF_MAX = 2.0, 60.0
_Failures = (*ApiError, HTTPError)


def calm(record: logging.LogRecord) -> bool:
    """A filter: kopf calls an error what it tries again by itself, such as an API server that is just starting."""
    if record.levelno == logging.ERROR and "will retry" in record.getMessage():
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


class Operator:
    """Passes whenever a watch rings, while the lease is held."""

    def __init__(
        self,
        lease: Lease,
        reconciler: Reconciler,
        meter: PrometheusMeter,
        tracer: Tracer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease = lease
        self._reconciler = reconciler
        self._meter = meter
        self._tracer = tracer
        self._clock = clock
        self._bell = asyncio.Event()
        self._essences: dict[str, object] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def ring(self) -> None:
        """Something has changed."""
        self._bell.set()

    def hear(self, kind: Kind, body: Body, *, gone: bool) -> None:
        """A watch says something about an object; most of it is no news."""
        uid, now = body["metadata"]["uid"], essence(kind, body)
        known = self._essences.pop(uid, None)
        if not gone:
            self._essences[uid] = now
        if gone or known != now:
            self.ring()

    async def start(self) -> None:
        """Begins to stand for the lease and to make passes."""
        self._tasks = [
            asyncio.create_task(self._stand(), name="lease"),
            asyncio.create_task(self._reconcile(), name="reconcile"),
        ]

    async def stop(self) -> None:
        """Ends after the pass under way, and gives the lease back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(*_Failures):
            await asyncio.to_thread(self._lease.release)

    def healthy(self) -> bool:
        """Whether both loops live."""
        return not any(task.done() for task in self._tasks)

    async def _stand(self) -> None:
        was = False
        while True:
            try:
                await asyncio.shield(asyncio.to_thread(self._lease.tick))
            except _Failures as error:
                log.warning("lease: %s", explained(error))
            if self._lease.mine != was:
                was = self._lease.mine
                log.info("this operator acts" if was else "another operator acts")
                self._meter.set(LEADER, to=float(was))
                self.ring()
            await asyncio.sleep(PERIOD)

    async def _reconcile(self) -> None:
        due: float | None = None
        failures = 0
        while True:
            fresh = await self._wait(due)
            if not self._lease.mine:
                due = PERIOD  # it may only be late: what is under way goes on
                continue
            try:
                due = await self._pass(fresh=fresh)
                failures = 0
            except Exception as error:  # whatever it is: the next pass sees the world anew
                known = isinstance(error, _Failures)
                log.warning("a pass failed: %s", explained(error), exc_info=None if known else error)
                failures += 1
                due = exponential_backoff(failures, _BACKOFF_FIRST, _BACKOFF_MAX)
            pause = PAUSE_SECONDS if due is None else min(PAUSE_SECONDS, max(due, SETTLE_SECONDS))
            await asyncio.sleep(pause)
            due = None if due is None else due - pause

    async def _wait(self, due: float | None) -> bool:
        """For the bell, or until something is due; whether the API is to be read: it rang, or was silent for long."""
        timeout = RESYNC_SECONDS if due is None else max(0.05, min(due, RESYNC_SECONDS))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._bell.wait(), timeout)
            await asyncio.sleep(SETTLE_SECONDS)
        rang = self._bell.is_set()
        self._bell.clear()
        return rang or due is None

    async def _pass(self, *, fresh: bool) -> float | None:
        began, result = self._clock(), "failed"
        span = start_span(self._tracer, "reconcile", at=time.time())
        try:
            due = await asyncio.shield(asyncio.to_thread(self._reconciler.run, fresh=fresh))
            result = "ok"
        finally:
            end_span(span, time.time(), error="" if result == "ok" else result)
            self._meter.add(RECONCILES, "all", result)
            self._meter.observe(RECONCILE_SECONDS, self._clock() - began, "all")
        return due


def registry(operator: Operator) -> kopf.OperatorRegistry:
    """kopf's handlers: every event rings the bell. No kind is handled in a way that needs annotations or finalizers."""
    handlers = kopf.OperatorRegistry()

    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.label_selectors[POD.plural] = POOL_LABEL
        await operator.start()

    async def clean_up(**_: Any) -> None:
        await operator.stop()

    async def probe(**_: Any) -> str:
        if not operator.healthy():
            raise kopf.PermanentError("a loop of the operator has ended")
        return datetime.now(UTC).isoformat()

    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**kwargs)

    kopf.on.login(registry=handlers)(log_in)
    kopf.on.startup(registry=handlers)(configure)
    kopf.on.cleanup(registry=handlers)(clean_up)
    kopf.on.probe(id="loops", registry=handlers)(probe)
    for kind in WATCHED:
        watch = kopf.on.event(kind.group, kind.version, kind.plural, id=f"hear-{kind.plural}", registry=handlers)
        watch(_ear(operator, kind))
    return handlers


def _ear(operator: Operator, kind: Kind) -> Callable[..., Awaitable[None]]:
    async def hear(event: Mapping[str, Any], **_: Any) -> None:
        operator.hear(kind, event["object"], gone=event["type"] == "DELETED")

    return hear
