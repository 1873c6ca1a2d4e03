"""The metrics of routers and replicas. They go through Ray, which puts ``ray_`` before their names."""

from __future__ import annotations

from enum import StrEnum

from matte_telemetry.metrics import CALL_SECONDS, Metric
from matte_telemetry.metrics import STAGE_SECONDS as STAGE_BUCKETS

_VERSION = ("model", "version")

JOBS = Metric("counter", "matte_jobs_total", "Runs of jobs by how they ended.", (*_VERSION, "outcome"), prefix="ray_")
JOB_SECONDS = Metric(
    "histogram", "matte_job_duration_seconds", "From a job's admission to its stored result.", _VERSION, CALL_SECONDS,
    "ray_",
)  # fmt: skip
STAGE_SECONDS = Metric(
    "histogram", "matte_stage_duration_seconds", "Time in a stage: queued, fetch, decode, forward, encode, store.",
    (*_VERSION, "stage"), STAGE_BUCKETS, "ray_",
)  # fmt: skip
BATCH_SIZE = Metric(
    "histogram", "matte_batch_size", "Pictures that went through the network together.", _VERSION,
    (1, 2, 4, 8, 16, 32, 64, 128, 256), "ray_",
)  # fmt: skip
SECONDS_PER_MEGAPIXEL = Metric(
    "histogram", "matte_seconds_per_megapixel", "A replica's time for a picture by its size.", _VERSION, STAGE_BUCKETS,
    "ray_",
)  # fmt: skip
FREE_SLOTS = Metric(
    "gauge", "matte_free_slots", "Jobs that a router could hand to a version now.", _VERSION, prefix="ray_"
)
LEASES_LOST = Metric(
    "counter", "matte_leases_lost_total",
    "Leases that a router held and lost: the job was canceled, or taken by another one.", prefix="ray_",
)  # fmt: skip
SWEPT = Metric(
    "counter", "matte_swept_jobs_total", "Jobs whose lease or time ran out: requeued, dead or expired.", ("outcome",),
    prefix="ray_",
)  # fmt: skip
MIRRORED = Metric(
    "counter", "matte_mirrored_jobs_total",
    "Jobs that a version computed beside the one that answered: compared, gone (ended before), alone (no mask came to"
    " compare with), dropped (too many at once) or failed.",
    (*_VERSION, "outcome"), prefix="ray_",
)  # fmt: skip
INFERENCE = (
    JOBS, JOB_SECONDS, STAGE_SECONDS, BATCH_SIZE, SECONDS_PER_MEGAPIXEL, FREE_SLOTS, LEASES_LOST, SWEPT, MIRRORED
)  # fmt: skip


class Outcome(StrEnum):
    """How a run of a job ended: values of the label ``outcome`` of :data:`JOBS`."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the job's own fault
    RETRIED = "retried"
    DEAD = "dead"  # the last attempt was lost
    LATE = "late"  # the job had ended before
    FELL_BACK = "fell_back"  # the version's fault: another one takes the job


#: outcomes by what ``JobStore.release`` returns
RELEASE_OUTCOMES = {"queued": Outcome.RETRIED, "dead": Outcome.DEAD, "lost": Outcome.LATE}


class MirrorOutcome(StrEnum):
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
