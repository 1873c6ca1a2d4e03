"""What is counted is what is scraped."""

from __future__ import annotations

import httpx
import pytest
from matte_frontend import metrics
from matte_operator.metrics import CONDITION, OPERATOR, set_condition
from matte_telemetry.prometheus import MetricsServer, PrometheusMeter, Samples, ScrapeCollector
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families


def samples(meter: PrometheusMeter, name: str) -> dict[tuple[str, ...], float]:
    """Values by labels, in the order of the labels' metrics."""
    families = text_string_to_metric_families(generate_latest(meter.registry).decode())
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


def test_counts_and_times() -> None:
    meter = PrometheusMeter(metrics.FRONTEND)
    meter.add(metrics.JOBS_ADMITTED, "portrait")
    meter.add(metrics.JOBS_ADMITTED, "portrait", by=2)
    meter.observe(metrics.HTTP_SECONDS, 0.3, "/models")
    meter.shift(metrics.OPEN_STREAMS, by=1)
    meter.shift(metrics.OPEN_STREAMS, by=-1)
    assert samples(meter, "matte_jobs_admitted_total") == {("portrait",): 3}
    buckets = samples(meter, "matte_http_request_duration_seconds_bucket")
    assert buckets["0.25", "/models"] == 0
    assert buckets["0.5", "/models"] == 1
    assert samples(meter, "matte_open_streams") == {(): 0}


def test_a_condition_has_one_status_until_its_object_is_gone() -> None:
    meter = PrometheusMeter(OPERATOR)
    set_condition(meter, "Model", "portrait", "Ready", "Unknown")
    set_condition(meter, "Model", "portrait", "Ready", "True")
    set_condition(meter, "Model", "hair", "Ready", "False")
    found = samples(meter, "matte_operator_condition")
    assert {labels for labels, value in found.items() if value} == {
        ("Model", "portrait", "True", "Ready"), ("Model", "hair", "False", "Ready"),
    }  # fmt: skip
    meter.remove(CONDITION, "Model", "portrait")
    assert {labels[1] for labels in samples(meter, "matte_operator_condition")} == {"hair"}
    set_condition(meter, "Model", "portrait", "Ready", "False")
    assert samples(meter, "matte_operator_condition")["Model", "portrait", "False", "Ready"] == 1


def test_gauges_are_read_at_a_scrape_and_a_store_that_is_away_breaks_nothing() -> None:
    meter, failures, away = PrometheusMeter(metrics.FRONTEND), list[Exception](), False

    def read() -> Samples:
        if away:
            raise TimeoutError("the store is away")
        return {metrics.QUEUE_LENGTH: [(("portrait",), 7)], metrics.DEAD_JOBS: [((), 1)]}

    meter.registry.register(ScrapeCollector(metrics.STORE, read, failures.append))
    assert samples(meter, "matte_queue_length") == {("portrait",): 7}
    away = True
    assert samples(meter, "matte_queue_length") == {}
    assert samples(meter, "matte_open_streams") == {(): 0}
    assert [str(error) for error in failures] == ["the store is away"] * 2


def test_the_server_listens_and_ends() -> None:
    server = MetricsServer.start(PrometheusMeter(metrics.FRONTEND).registry, host="127.0.0.1", port=0)
    url = f"http://127.0.0.1:{server.port}/metrics"
    assert "matte_open_streams 0.0" in httpx.get(url).text
    server.close()
    with pytest.raises(httpx.TransportError):
        httpx.get(url, timeout=1)
