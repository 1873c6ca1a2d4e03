"""Parts of the frontend that need no server."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from typing import Any

import pytest
from gradio.blocks import Blocks
from matte_core.contracts.catalog import Catalog, Download, ModelView, Route, VersionView
from matte_core.contracts.job import ANONYMOUS, Event, JobState, JobView
from matte_core.contracts.options import Options
from matte_core.domain.eta import Cost
from matte_core.errors import Problem
from matte_frontend import openapi, openapi_examples, pages
from matte_frontend.admission import parse_options, resolve_version
from matte_frontend.app import create_app, rest_routes
from matte_frontend.gradio_api.files import local_path
from matte_frontend.gradio_api.gradio_adapter import ENDPOINTS, remove_background, segment
from matte_frontend.gradio_api.messages import Translator
from matte_frontend.job_events import QueuePosition
from matte_frontend.rollouts.report import RolloutReport
from matte_frontend.settings import FrontendSettings
from matte_frontend.state import capacity
from matte_telemetry import logs
from starlette.datastructures import Headers
from starlette.routing import Route as Address

ROOT = "http://here/gradio_api"


class TestGradioAdapter:
    def test_no_queue_runs(self) -> None:
        """Gradio's own queue would poll every millisecond: the adapter must never start it."""

        async def names() -> set[str]:
            app = create_app(FrontendSettings(redis_url="redis://127.0.0.1:1/0"))
            await asyncio.sleep(0.05)
            assert app.state.gradio_endpoints == ["remove_background", "segment"]
            return {task.get_name() for task in asyncio.all_tasks()} - {asyncio.current_task().get_name()}  # type: ignore[union-attr]

        assert asyncio.run(names()) == set()

    def test_private_calls_are_still_there(self) -> None:
        for name in ("queue", "get_config_file", "_set_html_css_theme_variables"):
            assert inspect.isfunction(getattr(Blocks, name))

    def test_endpoints_in_the_order_of_their_indices(self) -> None:
        assert list(ENDPOINTS) == [remove_background.__name__, segment.__name__]

    def test_every_option_is_offered(self) -> None:
        offered = set(inspect.signature(remove_background).parameters)
        assert offered == {"image", "model", "version"} | (set(Options.model_fields) - {"channels"})
        for name, field in Options.model_fields.items():
            if name != "channels":
                default = inspect.signature(remove_background).parameters[name].default
                assert default in (field.default, ""), name


class TestOpenApi:
    def test_every_route_is_described_and_nothing_else(self) -> None:
        described = {
            (path, method.upper()) for path, item in openapi.document()["paths"].items() for method in item
        }  # fmt: skip
        served = {
            (route.path.replace(":major", ""), method)
            for route in rest_routes(FrontendSettings())
            if isinstance(route, Address)
            for method in route.methods or ()
            if method != "HEAD"
        }
        assert described == served

    def test_examples_fit_the_contracts(self) -> None:
        JobView.model_validate(openapi_examples.JOB)
        Catalog.model_validate(openapi_examples.CATALOG)
        RolloutReport.model_validate(openapi_examples.ROLLOUT)

    def test_references_resolve(self) -> None:
        document = openapi.document()

        def check(node: Any) -> None:
            if isinstance(node, dict):
                if isinstance(ref := node.get("$ref"), str):
                    target: Any = document
                    for part in ref.removeprefix("#/").split("/"):
                        target = target[part]
                for value in node.values():
                    check(value)
            elif isinstance(node, list):
                for value in node:
                    check(value)

        check(document)

    def test_operations_have_unique_names(self) -> None:
        names = [op["operationId"] for item in openapi.document()["paths"].values() for op in item.values()]
        assert len(names) == len(set(names))


class TestAdmission:
    def test_strings_and_values_mean_the_same(self) -> None:
        also = frozenset({"version"})
        text, rest = parse_options({"crop": "true", "bg_color": "white", "version": "2"}, also=also)
        value, _ = parse_options({"crop": True, "bg_color": "#fff"}, also=also)
        assert text == value
        assert rest == {"version": "2"}

    def test_contradictions_have_no_field(self) -> None:
        with pytest.raises(Problem) as caught:
            parse_options({"crop_margin": "10%"}, also=frozenset())
        assert caught.value.extensions["errors"] == [{"parameter": "", "message": "crop_margin needs crop=true"}]

    def test_pins(self) -> None:
        route = Route.model_validate(
            {"model": "m", "arms": [{"version": "1.0.0", "weight": 90}, {"version": "2.0.0", "weight": 10}]}
        )
        assert [resolve_version(route, named, ANONYMOUS, {}) for named in (None, "2", "1.0.0")] == [
            None,
            "2.0.0",
            "1.0.0",
        ]
        with pytest.raises(Problem, match="no version 3") as caught:
            resolve_version(route, "3", ANONYMOUS, {})
        assert caught.value.extensions["versions"] == ["1.0.0", "2.0.0"]

    def test_a_header_of_several_lines_is_a_list(self) -> None:
        route = Route.model_validate(
            {
                "model": "m", "arms": [{"version": "1.0.0", "weight": 100}, {"version": "2.0.0", "weight": 0}],
                "rules": [{"version": "2.0.0", "header": "X-Groups", "values": ["testers"]}],
            }
        )  # fmt: skip
        lines = [(b"x-groups", b"staff"), (b"accept", b"*/*"), (b"x-groups", b"a, testers")]
        assert resolve_version(route, None, ANONYMOUS, Headers(raw=lines)) == "2.0.0"
        assert resolve_version(route, None, ANONYMOUS, Headers(raw=lines[:2])) is None


class TestMessages:
    def event(self, kind: str, **data: object) -> Event:
        return Event.model_validate({"id": "1-0", "type": kind, "at": 5.0, "data": data})

    def test_the_way_of_a_call(self) -> None:
        to = Translator("j", ROOT)
        assert to.translate(None) == []
        assert to.translate(QueuePosition(3, 4, 1.5)) == [
            {"msg": "estimation", "event_id": "j", "rank": 3, "queue_size": 4, "rank_eta": 1.5}
        ]
        assert to.translate(self.event("started", version="1.0.0"))[0]["msg"] == "process_starts"
        preview = {"b64": "", "content_type": "image/webp", "width": 1, "height": 1}
        first, second = (to.translate(self.event("preview", **preview))[0]["output"]["data"] for _ in range(2))
        assert first[0]["url"] == f"{ROOT}/file=jobs/j/preview.webp"
        assert second == [[["replace", [], first[0]]]], "later values are changes to the first"

    @pytest.mark.parametrize("state", [JobState.FAILED, JobState.DEAD, JobState.CANCELED, JobState.EXPIRED])
    def test_bad_ends_say_why(self, state: JobState) -> None:
        error = Problem("out_of_memory", "Too big.").document()
        (message,) = Translator("j", ROOT).translate(self.event("finished", state=state, error=error))
        assert (message["msg"], message["success"]) == ("process_completed", False)
        assert set(message["output"]) == {"error", "title"}, "what gradio_client's AppError takes"


class TestLocalPath:
    UPLOAD = f"uploads/{'a' * 32}/a.jpg"

    @pytest.mark.parametrize(
        "image",
        [
            {"path": UPLOAD},
            UPLOAD,
            {"path": None, "url": f"http://here:1/gradio_api/file={UPLOAD}"},
            {"path": f"https://here:1/below/gradio_api/file={UPLOAD}"},
        ],
    )
    def test_ours(self, image: object) -> None:
        assert local_path(image, host="here:1") == self.UPLOAD

    @pytest.mark.parametrize(
        "image",
        [
            None, 7, {}, {"path": ""}, {"path": "/etc/passwd"}, {"path": f"{UPLOAD}/../../x"},
            {"url": "http://169.254.169.254/latest"}, {"path": f"http://there/gradio_api/file={UPLOAD}"},
            {"path": f"http://here:1@there/gradio_api/file={UPLOAD}"}, {"path": "file:///etc/passwd"},
            {"path": "jobs/x/result.svg"}, {"path": "data:image/png;base64,AAAA"},
        ],
    )  # fmt: skip
    def test_not_ours(self, image: object) -> None:
        with pytest.raises(Problem) as caught:
            local_path(image, host="here:1")
        assert caught.value.code == "invalid_parameter"


def test_logs_are_json_lines() -> None:
    record = logging.LogRecord("a", logging.ERROR, "", 0, "it %s", ("broke",), None)
    record.request_id = "r1"
    line = json.loads(logs.JsonFormatter().format(record))
    assert (line["message"], line["level"], line["request_id"]) == ("it broke", "ERROR", "r1")


def test_the_page_fits_its_policy() -> None:
    page = (pages.FOLDER / "index.html").read_text()
    assert "onclick=" not in page
    assert "<style" not in page
    assert "style=" not in page
    assert "'unsafe-inline'" not in pages.CSP


def test_a_version_that_is_being_downloaded_gives_no_eta() -> None:
    asleep = VersionView(
        version="1.0.0",
        weight=100,
        ready=False,
        replicas=0,
        slots=0,
        seconds_per_picture=2.0,
        seconds_per_megapixel=0.1,
    )
    awaited = asleep.model_copy(update={"download": Download(done=1, total=9)})

    def cost(version: VersionView) -> Cost | None:
        model = ModelView(name="m", default=True, ready=False, queue_length=0, versions=(version,))
        return capacity(Catalog(models=(model,)), "m", None).cost

    assert cost(awaited) is None
    assert cost(asleep) is not None
    assert cost(awaited.model_copy(update={"ready": True})) is not None  # another node downloads it
