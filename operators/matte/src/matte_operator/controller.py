"""The running operator: kopf watches, leader election decides who acts, one task makes passes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import kopf
from matte_core.domain.backoff import exponential_backoff
from matte_telemetry.prometheus import PrometheusMeter
from matte_telemetry.tracing import end_span, start_span
from opentelemetry.trace import Tracer

from matte_operator.kinds import POD, WATCHED, Body, Kind
from matte_operator.kube_client import ApiError, error_message
from matte_operator.leader_election import RETRY_SECONDS, LeaderElector
from matte_operator.metrics import LEADER, RECONCILE_SECONDS, RECONCILES
from matte_operator.reconciler import Reconciler
from matte_operator.render.pods import POOL_LABEL
from matte_operator.snapshot import change_fingerprint

log = logging.getLogger("matte.operator")

#: changes come in bursts: a pass waits this long for more of them (seconds)
DEBOUNCE_SECONDS = 0.1
#: the least time between two passes (seconds), unless a decision asks for less: traffic leaves a bad version
PAUSE_SECONDS = 0.3
#: a watch is renewed after this long (seconds)
WATCH_SECONDS = 3600
#: a pass is made after this long even without any event (seconds)
RESYNC_SECONDS = 1800.0
#: before a failed pass is repeated, doubled each time (seconds)
_BACKOFF_FIRST, _BACKOFF_MAX = 2.0, 60.0


def downgrade_retries(record: logging.LogRecord) -> bool:
    """A log filter: kopf logs as errors what it retries, such as an API server that is just starting."""
    if record.levelno == logging.ERROR and "will retry" in record.getMessage():
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


class Controller:
    """Makes a pass whenever a watch reports a relevant change, while this operator is the leader."""

    def __init__(self, elector: LeaderElector, reconciler: Reconciler, meter: PrometheusMeter, tracer: Tracer) -> None:
        self._elector = elector
        self._reconciler = reconciler
        self._meter = meter
        self._tracer = tracer
        self._triggered = asyncio.Event()  # a pass that reads the API is requested
        self._fingerprints: dict[str, object] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def on_event(self, kind: Kind, body: Body, *, deleted: bool) -> None:
        uid, fingerprint = body["metadata"]["uid"], change_fingerprint(kind, body)
        known = self._fingerprints.pop(uid, None)
        if not deleted:
            self._fingerprints[uid] = fingerprint
        if deleted or known != fingerprint:
            self._triggered.set()

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run_election(), name="leader-election"),
            asyncio.create_task(self._reconcile(), name="reconcile"),
        ]

    async def stop(self) -> None:
        """Ends after the pass under way, and gives the Lease back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(*ApiError):
            await asyncio.to_thread(self._elector.release)

    def healthy(self) -> bool:
        return not any(task.done() for task in self._tasks)

    async def _run_election(self) -> None:
        was_leader = False
        while True:
            try:
                await asyncio.shield(asyncio.to_thread(self._elector.try_acquire_or_renew))
            except ApiError as error:
                log.warning("lease: %s", error_message(error))
            is_leader = self._elector.is_leader
            if is_leader != was_leader:
                was_leader = is_leader
                log.info("lease: %s", "this operator is the leader" if is_leader else "another operator is the leader")
                self._meter.set(LEADER, to=float(is_leader))
                self._triggered.set()
            await asyncio.sleep(RETRY_SECONDS)

    async def _reconcile(self) -> None:
        due: float | None = None
        failures = 0
        while True:
            fresh = await self._wait(due)
            if not self._elector.is_leader:
                due = RETRY_SECONDS  # the renewal may only be late: what is due is done then
                continue
            try:
                due = await self._pass(fresh=fresh)
                failures = 0
            except Exception as error:  # whatever it is: the next pass starts from a new snapshot
                expected = isinstance(error, ApiError)
                log.warning("operator: a pass failed: %s", error_message(error), exc_info=None if expected else error)
                failures += 1
                due = exponential_backoff(failures, _BACKOFF_FIRST, _BACKOFF_MAX)
            pause = PAUSE_SECONDS if due is None else min(PAUSE_SECONDS, max(due, DEBOUNCE_SECONDS))
            await asyncio.sleep(pause)
            due = None if due is None else due - pause

    async def _wait(self, due: float | None) -> bool:
        """Waits for a change, or until something is due; whether the API is to be read."""
        timeout = RESYNC_SECONDS if due is None else max(0.05, min(due, RESYNC_SECONDS))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._triggered.wait(), timeout)
            await asyncio.sleep(DEBOUNCE_SECONDS)
        triggered = self._triggered.is_set()
        self._triggered.clear()
        return triggered or due is None

    async def _pass(self, *, fresh: bool) -> float | None:
        began, result = time.monotonic(), "failed"
        span = start_span(self._tracer, "reconcile", at=time.time())
        try:
            due = await asyncio.shield(asyncio.to_thread(self._reconciler.run, fresh=fresh))
            result = "ok"
        finally:
            end_span(span, time.time(), error="" if result == "ok" else result)
            self._meter.add(RECONCILES, "all", result)
            self._meter.observe(RECONCILE_SECONDS, time.monotonic() - began, "all")
        return due


def registry(controller: Controller) -> kopf.OperatorRegistry:
    """kopf's handlers. Every event goes to the controller; none needs annotations or finalizers."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.startup(registry=handlers)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.label_selectors[POD.plural] = POOL_LABEL
        await controller.start()

    @kopf.on.cleanup(registry=handlers)
    async def stop(**_: Any) -> None:
        await controller.stop()

    @kopf.on.probe(id="loops", registry=handlers)
    async def probe(**_: Any) -> str:
        if not controller.healthy():
            raise kopf.PermanentError("a loop of the operator has ended")
        return datetime.now(UTC).isoformat()

    @kopf.on.login(registry=handlers)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**kwargs)

    for kind in WATCHED:

        @kopf.on.event(kind.group, kind.version, kind.plural, id=f"on-event-{kind.plural}", registry=handlers)
        async def handle(event: Mapping[str, Any], watched: Kind = kind, **_: Any) -> None:
            controller.on_event(watched, event["object"], deleted=event["type"] == "DELETED")

    return handlers
