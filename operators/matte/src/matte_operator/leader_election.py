"""Leader election by a Lease: of two operators only one acts, as with client-go's ``leaderelection``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from matte_operator.kinds import LEASE, POD, Body, name_of
from matte_operator.kube_client import KubeClient

#: a leader that does not renew the Lease for this long has lost it (seconds)
LEASE_SECONDS = 45
#: how often the leader renews it, and how often the others look (seconds)
RETRY_SECONDS = 15.0
#: a leader that could not renew it for this long stops acting, before another one may begin (seconds)
RENEW_DEADLINE_SECONDS = 30.0
_OPERATOR_PODS = "app.kubernetes.io/component=operator"


class LeaderElector:
    """One candidate for the Lease ``name``. Time is that of ``clock`` (monotonic seconds): nodes' clocks may differ.

    The Lease is owned by the ReplicaSet of ``pod``, which this candidate runs in, so that an uninstall leaves none.
    Calls raise ``ApiError``.
    """

    def __init__(
        self, kube: KubeClient, name: str, identity: str, *, clock: Callable[[], float], pod: str = ""
    ) -> None:
        self._kube = kube
        self._name = name
        self._identity = identity
        self._clock = clock
        self._pod = pod
        self._lease: Body | None = None
        self._renewed_at = 0.0
        self._observed_record: tuple[Any, ...] = ()
        self._observed_at = 0.0

    @property
    def is_leader(self) -> bool:
        return self._lease is not None and self._clock() - self._renewed_at < RENEW_DEADLINE_SECONDS

    def try_acquire_or_renew(self) -> bool:
        """Takes, renews, or looks at the Lease; whether this candidate is the leader now."""
        began = self._clock()
        try:
            lease = self._acquire_or_renew()
        except Exception:
            self._lease = None  # it is read anew
            raise
        self._lease, self._renewed_at = lease, began  # not before: passes go on while it is renewed
        return lease is not None

    def _acquire_or_renew(self) -> Body | None:
        if self._lease is not None:
            return self._kube.replace(LEASE, self._with_record(self._lease))
        lease = self._kube.get(LEASE, self._name)
        if lease is None:
            return self._kube.create(LEASE, self._with_record(self._with_owner({"metadata": {"name": self._name}})))
        spec = lease.get("spec", {})
        record = (spec.get("holderIdentity"), spec.get("renewTime"))
        if record != self._observed_record:
            self._observed_record, self._observed_at = record, self._clock()
        expired = self._clock() - self._observed_at >= spec.get("leaseDurationSeconds", LEASE_SECONDS)
        if record[0] in {None, "", self._identity} or expired:
            return self._kube.replace(LEASE, self._with_record(self._with_owner(lease)))
        return None

    def release(self) -> None:
        """Gives the Lease back, so that the next leader need not wait."""
        if (lease := self._lease) is None:
            return
        self._lease = None
        lease["spec"]["holderIdentity"] = ""
        self._kube.replace(LEASE, lease)

    def _with_owner(self, lease: Body) -> Body:
        pods = self._kube.list(POD, label_selector=_OPERATOR_PODS) if self._pod else []
        owners = [o for pod in pods if name_of(pod) == self._pod for o in pod["metadata"].get("ownerReferences", [])]
        references = [{key: owner[key] for key in ("apiVersion", "kind", "name", "uid")} for owner in owners]
        return {**lease, "metadata": {**lease["metadata"], "ownerReferences": references}}

    def _with_record(self, lease: Body) -> Body:
        spec = dict(lease.get("spec", {}))
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if spec.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": time, "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": time}
        return {**lease, "apiVersion": LEASE.api_version, "kind": LEASE.kind, "spec": spec}
