"""What is counted is what is scraped."""

from __future__ import annotations

import httpx
import pytest
from matte_telemetry import names
from matte_telemetry.prometheus import MetricsServer, PrometheusMeter, Samples, Seen
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families


def samples(meter: PrometheusMeter, name: str) -> dict[tuple[str, ...], float]:
    """Values by labels, in the order of the labels' names."""
    families = text_string_to_metric_families(generate_latest(meter.registry).decode())
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


def test_counts_and_times() -> None:
    meter = PrometheusMeter(names.FRONTEND)
    meter.add(names.JOBS_ADMITTED, "portrait")
    meter.add(names.JOBS_ADMITTED, "portrait", by=2)
    meter.observe(names.HTTP_SECONDS, 0.3, "/models")
    meter.shift(names.OPEN_STREAMS, by=1)
    meter.shift(names.OPEN_STREAMS, by=-1)
    assert samples(meter, "matte_jobs_admitted_total") == {("portrait",): 3}
    buckets = samples(meter, "matte_http_request_duration_seconds_bucket")
    assert buckets["0.25", "/models"] == 0
    assert buckets["0.5", "/models"] == 1
    assert samples(meter, "matte_open_streams") == {(): 0}


def test_a_condition_has_one_status_until_its_object_is_gone() -> None:
    meter = PrometheusMeter(names.OPERATOR)
    meter.set_condition("Model", "portrait", "Ready", "Unknown")
    meter.set_condition("Model", "portrait", "Ready", "True")
    meter.set_condition("Model", "hair", "Ready", "False")
    found = samples(meter, "matte_operator_condition")
    assert {labels for labels, value in found.items() if value} == {
        ("Model", "portrait", "True", "Ready"), ("Model", "hair", "False", "Ready"),
    }  # fmt: skip
    meter.forget("Model", "portrait")
    assert {labels[1] for labels in samples(meter, "matte_operator_condition")} == {"hair"}
    meter.set_condition("Model", "portrait", "Ready", "False")
    assert samples(meter, "matte_operator_condition")["Model", "portrait", "False", "Ready"] == 1


def test_gauges_are_read_at_a_scrape_and_a_store_that_is_away_breaks_nothing() -> None:
    meter, failures, away = PrometheusMeter(names.FRONTEND), list[Exception](), False

    def read() -> Samples:
        if away:
            raise TimeoutError("the store is away")
        return {names.QUEUE_LENGTH: [(("portrait",), 7)], names.DEAD_JOBS: [((), 1)]}

    meter.registry.register(Seen(names.SEEN, read, failures.append))
    assert samples(meter, "matte_queue_length") == {("portrait",): 7}
    away = True
    assert samples(meter, "matte_queue_length") == {}
    assert samples(meter, "matte_open_streams") == {(): 0}
    assert [str(error) for error in failures] == ["the store is away"] * 2


def test_the_server_listens_and_ends() -> None:
    server = MetricsServer.start(PrometheusMeter(names.FRONTEND).registry, host="127.0.0.1", port=0)
    url = f"http://127.0.0.1:{server.port}/metrics"
    assert "matte_open_streams 0.0" in httpx.get(url).text
    server.close()
    with pytest.raises(httpx.TransportError):
        httpx.get(url, timeout=1)
