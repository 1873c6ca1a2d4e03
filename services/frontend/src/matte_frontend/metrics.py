"""The metrics of a frontend."""

from __future__ import annotations

from matte_telemetry.metrics import CALL_SECONDS, Metric

# what came in

JOBS_ADMITTED = Metric("counter", "matte_jobs_admitted_total", "Jobs that were put into the queue.", ("model",))
JOBS_REFUSED = Metric(
    "counter", "matte_jobs_refused_total", "Requests for a job that were refused, by problem code.", ("model", "code")
)
HTTP_REQUESTS = Metric(
    "counter", "matte_http_requests_total", "HTTP requests by route template and class of the status.",
    ("route", "status"),
)  # fmt: skip
HTTP_SECONDS = Metric(
    "histogram", "matte_http_request_duration_seconds",
    "From a request to the end of its answer; event streams are left out.", ("route",), CALL_SECONDS,
)  # fmt: skip
CONNECTIONS_REFUSED = Metric(
    "counter", "matte_connections_refused_total",
    "Connections that were ended at a bound, by problem code, or idle.", ("code",),
)  # fmt: skip
OPEN_STREAMS = Metric("gauge", "matte_open_streams", "Event streams that are open.")

# what the store says when it is scraped: every frontend reports the same

QUEUE_LENGTH = Metric("gauge", "matte_queue_length", "Jobs that wait for a model.", ("model",))
VERSION_REPLICAS = Metric("gauge", "matte_version_replicas", "Live replicas of a version.", ("model", "version"))
VERSION_SLOTS = Metric(
    "gauge", "matte_version_slots", "Jobs that a version's live replicas can hold.", ("model", "version")
)
VERSION_WEIGHT = Metric(
    "gauge", "matte_version_weight_percent", "A version's share of its model's traffic.", ("model", "version")
)
DEAD_JOBS = Metric("gauge", "matte_dead_jobs", "Jobs on the dead-letter list.")
STORE_USED = Metric("gauge", "matte_store_used_bytes", "Memory that the job store uses.")
STORE_MAX = Metric("gauge", "matte_store_max_bytes", "Memory that the job store may use; 0 is without a limit.")

FRONTEND = (JOBS_ADMITTED, JOBS_REFUSED, HTTP_REQUESTS, HTTP_SECONDS, CONNECTIONS_REFUSED, OPEN_STREAMS)
STORE = (QUEUE_LENGTH, VERSION_REPLICAS, VERSION_SLOTS, VERSION_WEIGHT, DEAD_JOBS, STORE_USED, STORE_MAX)
