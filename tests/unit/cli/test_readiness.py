from __future__ import annotations

from matte_cli.models import row
from matte_cli.readiness import judge
from matte_cli.serve import Plan, welcome
from matte_core.contracts.catalog import Catalog, ModelView, VersionView


def catalog(*, ready: bool) -> Catalog:
    version = VersionView(version="2.0.0", weight=100, ready=ready, replicas=int(ready), slots=2)
    model = ModelView(name="grabcut", default=True, ready=ready, queue_length=0, versions=(version,))
    return Catalog(default_model="grabcut", models=(model,))


def test_what_is_waited_for() -> None:
    assert judge(None, None).waiting_for == "the frontend to answer"
    assert judge(200, None).waiting_for == "inference to load the first model"
    assert judge(200, catalog(ready=False)).waiting_for == "a replica of grabcut 2.0.0"
    unserved = catalog(ready=True).models[0].model_copy(update={"served": False})
    assert judge(503, Catalog(models=(unserved,))).waiting_for == "the router to start"
    assert judge(503, catalog(ready=True)).waiting_for == "the frontend to be ready"
    found = judge(200, catalog(ready=True))
    assert (found.waiting_for, found.models) == ("", ("grabcut 2.0.0",))


def test_a_version_without_traffic_does_not_make_it_ready() -> None:
    model = catalog(ready=False).models[0]
    pinned_only = model.versions[0].model_copy(update={"version": "1.0.0", "weight": 0, "ready": True, "replicas": 1})
    both = model.model_copy(update={"versions": (pinned_only, *model.versions), "ready": True})
    found = judge(200, Catalog(default_model="grabcut", models=(both,)))
    assert found.waiting_for == "a replica of grabcut 2.0.0"


def test_a_row_of_the_table() -> None:
    model = catalog(ready=True).models[0]
    cells = row(
        model, model.versions[0].model_copy(update={"seconds_per_picture": 0.25, "seconds_per_megapixel": 0.25})
    )
    assert cells == ("grabcut (default)", "2.0.0", "100 %", "[green]yes[/]", "1", "0.50 s", "–", "–")


def test_the_welcome_names_every_address() -> None:
    text = welcome(("http://127.0.0.1:1", "http://127.0.0.1:2"), ("grabcut 2.0.0",))
    assert "http://127.0.0.1:2" in text
    assert text.count("http://127.0.0.1:1") == 3
    assert "http://127.0.0.1:1/predict -o" in text


def test_addresses_that_a_browser_can_open(tmp_path: object) -> None:
    from pathlib import Path

    def urls(host: str) -> tuple[str, ...]:
        return Plan(host, (80, 81), Path(str(tmp_path)), None, None, 1.0).urls

    assert urls("0.0.0.0") == ("http://127.0.0.1:80", "http://127.0.0.1:81")
    assert urls("::1") == ("http://[::1]:80", "http://[::1]:81")
