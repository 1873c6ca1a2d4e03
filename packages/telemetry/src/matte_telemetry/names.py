"""Every metric of Matte, once: name, type, unit in the name, help, labels.

Names follow Prometheus' conventions: base units, ``_total`` for counters. Labels are few and bounded: models, versions,
pools, problem codes, route templates; never a tenant, an id or an address.

Metrics of inference go through Ray, which puts ``ray_`` before their names (:attr:`Metric.exported`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Prometheus' types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``buckets`` are upper bounds, in the unit of the name."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    prefix: str = ""

    @property
    def exported(self) -> str:
        """What it is called where it is scraped."""
        return self.prefix + self.name


#: seconds: from a header's check to a job that waited for its whole permitted time
_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
#: seconds: from a small blob's fetch to a large network on a CPU
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_RAY = "ray_"
_VERSION = ("model", "version")


def _counter(name: str, help_: str, *labels: str, prefix: str = "") -> Metric:
    return Metric(name, Kind.COUNTER, help_, labels, prefix=prefix)


def _gauge(name: str, help_: str, *labels: str, prefix: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, help_, labels, prefix=prefix)


def _histogram(name: str, help_: str, *labels: str, buckets: tuple[float, ...], prefix: str = "") -> Metric:
    return Metric(name, Kind.HISTOGRAM, help_, labels, buckets, prefix)


# --- the frontend: what came in ------------------------------------------------------------------------------------

JOBS_ADMITTED = _counter("matte_jobs_admitted_total", "Jobs that were put into the queue.", "model")
JOBS_REFUSED = _counter(
    "matte_jobs_refused_total", "Requests for a job that were refused, by problem code.", "model", "code"
)
HTTP_REQUESTS = _counter(
    "matte_http_requests_total", "HTTP requests by route template and class of the status.", "route", "status"
)
HTTP_SECONDS = _histogram(
    "matte_http_request_duration_seconds", "From a request to the end of its answer; event streams are left out.",
    "route", buckets=_CALL_SECONDS,
)  # fmt: skip
CONNECTIONS_REFUSED = _counter(
    "matte_connections_refused_total", "Connections that were ended at a bound, by problem code, or idle.", "code"
)
OPEN_STREAMS = _gauge("matte_open_streams", "Event streams that are open.")

# --- the frontend: what it sees in the store when it is scraped; every frontend says the same -----

QUEUE_LENGTH = _gauge("matte_queue_length", "Jobs that wait for a model.", "model")
VERSION_REPLICAS = _gauge("matte_version_replicas", "Live replicas of a version.", *_VERSION)
VERSION_SLOTS = _gauge("matte_version_slots", "Jobs that a version's live replicas can hold.", *_VERSION)
VERSION_WEIGHT = _gauge("matte_version_weight_percent", "A version's share of its model's traffic.", *_VERSION)
DEAD_JOBS = _gauge("matte_dead_jobs", "Jobs on the dead-letter list.")
STORE_USED = _gauge("matte_store_used_bytes", "Memory that the job store uses.")
STORE_MAX = _gauge("matte_store_max_bytes", "Memory that the job store may use; 0 is without a limit.")

# --- inference, by way of Ray -------------------------------------------------------------------------------------

JOBS = _counter("matte_jobs_total", "Runs of jobs by how they ended.", *_VERSION, "outcome", prefix=_RAY)
JOB_SECONDS = _histogram(
    "matte_job_duration_seconds", "From a job's admission to its stored result.", *_VERSION,
    buckets=_CALL_SECONDS, prefix=_RAY,
)  # fmt: skip
STAGE_SECONDS = _histogram(
    "matte_stage_duration_seconds", "Time in a stage: queued, fetch, decode, forward, encode, store.",
    *_VERSION, "stage", buckets=_STAGE_SECONDS, prefix=_RAY,
)  # fmt: skip
BATCH_SIZE = _histogram(
    "matte_batch_size", "Pictures that went through the network together.", *_VERSION, buckets=_BATCHES, prefix=_RAY
)
SECONDS_PER_MEGAPIXEL = _histogram(
    "matte_seconds_per_megapixel", "A replica's time for a picture by its size.", *_VERSION,
    buckets=_STAGE_SECONDS, prefix=_RAY,
)  # fmt: skip
FREE_SLOTS = _gauge("matte_free_slots", "Jobs that a router could hand to a version now.", *_VERSION, prefix=_RAY)
LEASES_LOST = _counter(
    "matte_leases_lost_total", "Leases that a router held and lost: the job was canceled, or taken by another one.",
    prefix=_RAY,
)  # fmt: skip
SWEPT = _counter(
    "matte_swept_jobs_total", "Jobs whose lease or time ran out: requeued, dead or expired.", "outcome", prefix=_RAY
)
MIRRORED = _counter(
    "matte_mirrored_jobs_total",
    "Jobs that a version computed beside the one that answered: compared, gone (ended before), alone (no mask came to"
    " compare with), dropped (too many at once) or failed.",
    *_VERSION, "outcome", prefix=_RAY,
)  # fmt: skip

# --- the operator -------------------------------------------------------------------------------------------------

RECONCILES = _counter("matte_operator_reconciles_total", "Reconciliations by result.", "kind", "result")
RECONCILE_SECONDS = _histogram(
    "matte_operator_reconcile_duration_seconds", "Time of a reconciliation.", "kind", buckets=_CALL_SECONDS
)
API_REQUESTS = _counter("matte_operator_api_requests_total", "Calls of the Kubernetes API.", "verb", "kind", "code")
LEADER = _gauge("matte_operator_leader", "1 while this operator is the one that acts.")
CONDITION = _gauge(
    "matte_operator_condition", "1 for the status that an object's condition has, 0 for the others.",
    "kind", "name", "type", "status",
)  # fmt: skip

#: what a frontend counts, and what it reads in the store when it is scraped
FRONTEND = (JOBS_ADMITTED, JOBS_REFUSED, HTTP_REQUESTS, HTTP_SECONDS, CONNECTIONS_REFUSED, OPEN_STREAMS)
SEEN = (QUEUE_LENGTH, VERSION_REPLICAS, VERSION_SLOTS, VERSION_WEIGHT, DEAD_JOBS, STORE_USED, STORE_MAX)
INFERENCE = (
    JOBS, JOB_SECONDS, STAGE_SECONDS, BATCH_SIZE, SECONDS_PER_MEGAPIXEL, FREE_SLOTS, LEASES_LOST, SWEPT, MIRRORED
)  # fmt: skip
OPERATOR = (RECONCILES, RECONCILE_SECONDS, API_REQUESTS, LEADER, CONDITION)
ALL = FRONTEND + SEEN + INFERENCE + OPERATOR


class Outcome(StrEnum):
    """How a run of a job ended: values of the label ``outcome`` of :data:`JOBS`."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the job's own fault
    RETRIED = "retried"
    DEAD = "dead"  # the last attempt was lost
    LATE = "late"  # the job had ended before
    FELL_BACK = "fell_back"  # the version's fault: another one takes the job


#: outcomes by what ``JobStore.release`` says
RELEASED = {"queued": Outcome.RETRIED, "dead": Outcome.DEAD, "lost": Outcome.LATE}


class Mirrored(StrEnum):
    """What became of a mirrored job: values of the label ``outcome`` of :data:`MIRRORED`."""

    COMPARED = "compared"
    GONE = "gone"  # it had ended before the picture was fetched
    ALONE = "alone"  # the other version's mask did not come
    DROPPED = "dropped"  # too many wait for their masks
    FAILED = "failed"


class Stage(StrEnum):
    """Values of the label ``stage`` of :data:`STAGE_SECONDS`, and names of spans."""

    QUEUED = "queued"
    FETCH = "fetch"
    DECODE = "decode"
    FORWARD = "forward"
    ENCODE = "encode"
    STORE = "store"
