"""Who acts: a Lease, so that of two operators only one does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from matte_operator.cluster import Cluster
from matte_operator.kinds import LEASE, POD, Body, name_of

#: a holder that is silent this long has lost it (seconds)
DURATION = 45
#: how often it says that it lives, and how often the others look
PERIOD = 15.0
#: a holder that could not say so for this long stops acting, before another one may begin
DEADLINE = 30.0
_OPERATORS = "app.kubernetes.io/component=operator"


class Lease:
    """One candidate. Time is measured by ``clock`` (monotonic seconds) alone: clocks of nodes may differ.

    Args:
        cluster: where the Lease is.
        name: of the Lease.
        identity: of this candidate.
        clock: monotonic seconds.
        now: for the record, in UTC.
        pod: that this candidate runs in; '': none. The Lease goes with what made the pod, so an uninstall leaves none.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        identity: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        pod: str = "",
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._pod = pod
        self._held: Body | None = None
        self._renewed = 0.0
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0

    @property
    def mine(self) -> bool:
        """Whether this one may act now."""
        return self._held is not None and self._clock() - self._renewed < DEADLINE

    def tick(self) -> bool:
        """Takes it, renews it, or looks at it; whether this one may act.

        Raises:
            ApiError, urllib3.exceptions.HTTPError: the API server did not agree or did not answer.
        """
        began = self._clock()
        try:
            taken = self._taken(self._held)
        except Exception:
            self._held = None  # it is read anew
            raise
        self._held, self._renewed = taken, began  # until here it was ours: passes go on while it is renewed
        return taken is not None

    def _taken(self, held: Body | None) -> Body | None:
        body = held or self._cluster.get(LEASE, self._name)
        if body is None:
            return self._cluster.create(LEASE, self._record(self._owned({"metadata": {"name": self._name}})))
        if held is not None:
            return self._cluster.replace(LEASE, self._record(body))
        if self._free(body):
            return self._cluster.replace(LEASE, self._record(self._owned(body)))
        return None

    def release(self) -> None:
        """Gives it back, so that the next one need not wait. Errors as of :meth:`tick`."""
        if (held := self._held) is None:
            return
        self._held = None
        held["spec"]["holderIdentity"] = ""
        self._cluster.replace(LEASE, held)

    def _owned(self, body: Body) -> Body:
        """It, as one that goes with the ReplicaSet of this candidate's pod."""
        pods = self._cluster.list(POD, label_selector=_OPERATORS) if self._pod else []
        owners = [o for pod in pods if name_of(pod) == self._pod for o in pod["metadata"].get("ownerReferences", [])]
        known = [{key: owner[key] for key in ("apiVersion", "kind", "name", "uid")} for owner in owners]
        return {**body, "metadata": {**body["metadata"], "ownerReferences": known}}

    def _free(self, body: Body) -> bool:
        """Nobody's, ours from before, or of one that was silent for as long as we have looked."""
        spec = body.get("spec", {})
        record = (spec.get("holderIdentity"), spec.get("renewTime"))
        if record != self._seen:
            self._seen, self._seen_at = record, self._clock()
        silent = self._clock() - self._seen_at
        return record[0] in {None, "", self._identity} or silent >= spec.get("leaseDurationSeconds", DURATION)

    def _record(self, body: Body) -> Body:
        spec = dict(body.get("spec", {}))
        stamp = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if spec.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": stamp, "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": DURATION, "renewTime": stamp}
        return {**body, "apiVersion": LEASE.api_version, "kind": LEASE.kind, "spec": spec}
