from __future__ import annotations

from io import StringIO

from matte_cli.downloads import Narrator
from matte_cli.models import row, unready
from matte_cli.readiness import judge
from matte_cli.serve import Plan, welcome
from matte_core.contracts.catalog import Catalog, Download, ModelView, VersionView
from rich.console import Console
from rich.progress import Progress


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


def awaiting(*, done: int, total: int, error: str | None = None, ready: bool = False) -> Catalog:
    """grabcut answers until isnet does, of which ``done`` of ``total`` bytes are here."""
    download = None if ready else Download(done=done, total=total, error=error)
    version = VersionView(version="1.0.0", weight=100, ready=ready, replicas=int(ready), slots=2, download=download)
    isnet = ModelView(name="isnet", default=ready, ready=ready, queue_length=0, versions=(version,))
    grabcut = catalog(ready=True).models[0]
    return Catalog(
        default_model="isnet" if ready else "grabcut",
        pending_default_model=None if ready else "isnet",
        models=(isnet, grabcut),
    )


def test_what_is_awaited_does_not_hold_up_the_start() -> None:
    found = judge(200, awaiting(done=43_000_000, total=88_000_000))
    assert found.waiting_for == ""
    assert [str(each) for each in found.awaited] == ["downloading isnet 1.0.0; grabcut answers until then"]
    assert [str(each) for each in judge(200, awaiting(done=9, total=9)).awaited] == [
        "loading isnet 1.0.0; grabcut answers until then"
    ]
    assert judge(200, awaiting(done=9, total=9, ready=True)).awaited == ()


def test_a_version_that_failed_is_not_waited_for_if_another_answers() -> None:
    good = catalog(ready=True).models[0]
    bad = good.versions[0].model_copy(
        update={"version": "3.0.0", "weight": 10, "ready": False, "download": Download(error="bad weights")}
    )
    model = good.model_copy(update={"versions": (good.versions[0], bad)})
    assert judge(200, Catalog(default_model="grabcut", models=(model,))).waiting_for == ""
    alone = model.model_copy(update={"versions": (bad,), "ready": False})
    assert judge(200, Catalog(default_model="grabcut", models=(alone,))).waiting_for == "a replica of grabcut 3.0.0"


def test_a_version_that_is_not_ready_says_how_far_it_is() -> None:
    def state(found: Catalog) -> str:
        return unready(found.models[0].versions[0])

    assert state(awaiting(done=0, total=0)) == "no"
    assert state(awaiting(done=43_000_000, total=88_188_479)) == "43 of 88 MB"
    assert state(awaiting(done=9, total=9)) == "loading"
    assert state(awaiting(done=9, total=9, error="bad")) == "failed"
    assert state(catalog(ready=False)) == "no"


def test_the_terminal_tells_each_step_once() -> None:
    console = Console(file=StringIO(), width=100)
    narrator = Narrator(console, Progress(console=console, disable=True))
    for each in (
        awaiting(done=0, total=0),
        awaiting(done=1, total=9, error="SourceUnavailable: offline"),
        awaiting(done=1, total=9, error="SourceUnavailable: offline"),
        awaiting(done=5, total=9),
        awaiting(done=6, total=9),
        awaiting(done=9, total=9),
    ):
        assert narrator.show(each)
    assert not narrator.show(awaiting(done=9, total=9, ready=True))
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue().splitlines() == [
        "… downloading isnet 1.0.0; grabcut answers until then",
        "! isnet 1.0.0: SourceUnavailable: offline",
        "… downloading isnet 1.0.0; grabcut answers until then",
        "… loading isnet 1.0.0; grabcut answers until then",
        "✓ isnet 1.0.0 is ready",
        "✓ isnet answers from now on",
    ]


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
