"""The endpoints that Gradio's clients see, and a ``gradio.Server`` that describes them as a plain ASGI application.

``Server.launch()`` starts a web server of its own and an in-process queue that polls every millisecond. This does the
rest of what it does, on calls that Gradio does not document: its minor version is pinned and a test checks them.
The queue never runs, because no lifespan starts it: calls are served by the durable routes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from gradio import Server, utils
from gradio.blocks import Blocks
from gradio.data_classes import FileData
from gradio.events import api as register
from gradio.routes import App
from matte_core.contracts.options import Format, Size
from matte_core.errors import Problem
from starlette.types import ASGIApp

from matte_frontend.problems import unknown_parameter

#: the same on every frontend, so that clients which reconnect to another one do not start anew
APP_ID = 0x4D61747465


# Only the signatures of the two functions matter: they are served by the durable queue, and never run.


def remove_background(  # noqa: PLR0913, PLR0917 - one argument per option
    image: FileData,
    model: str = "",
    version: str = "",
    output: Literal["cutout", "mask"] = "cutout",
    format: Format = "auto",  # noqa: A002 - remove.bg's name
    size: Size = "auto",
    crop: bool = False,  # noqa: FBT001, FBT002 - clients pass by position
    crop_margin: str = "",
    bg_color: str = "",
    decontaminate: bool = True,  # noqa: FBT001, FBT002
    hints: str = "",
) -> FileData:
    """Cuts the subject of a picture out."""
    raise NotImplementedError


def segment(image: FileData, model: str = "", version: str = "") -> FileData:
    """The mask of a picture's subject."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint's parameters in order, their defaults, and the options it always sets."""

    name: str
    names: tuple[str, ...]
    defaults: Mapping[str, object]
    fixed: Mapping[str, object]

    def bind(self, data: object) -> tuple[object, dict[str, object]]:
        """The image as it came, and the parameters that differ from their defaults; ``data`` is a list of values."""
        if not isinstance(data, list):
            raise Problem("malformed_request", "data must be a list.")
        if len(data) > len(self.names):
            raise Problem("malformed_request", f"/{self.name} takes at most {len(self.names)} values.")
        return self.bind_named(dict(zip(self.names, data, strict=False)))

    def bind_named(self, values: Mapping[str, object]) -> tuple[object, dict[str, object]]:
        """:meth:`bind` for values by name."""
        for name in values:
            if name not in self.names:
                raise unknown_parameter(f"/{self.name} has no parameter {name!r}.", name, list(self.names))
        image = values.get("image")
        if image is None:
            raise Problem("picture_missing", f"/{self.name} needs the parameter image, an uploaded file.")
        given = {n: v for n, v in values.items() if n != "image" and v is not None and v != self.defaults[n]}
        return image, given | dict(self.fixed)


def _endpoint(function: object, **fixed: object) -> Endpoint:
    assert inspect.isfunction(function)
    parameters = inspect.signature(function).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    return Endpoint(function.__name__, tuple(parameters), defaults, fixed)


ENDPOINTS = {e.name: e for e in (_endpoint(remove_background), _endpoint(segment, output="mask"))}


def gradio_asgi(*, title: str, max_file_size: int) -> tuple[ASGIApp, list[str]]:
    """The application, and its endpoints' names in the order of their indices (``fn_index``). Clients show the title,
    and refuse files of more than ``max_file_size`` bytes themselves.
    """
    server = Server(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    for function in (remove_background, segment):
        server.api(function, name=function.__name__, description=function.__doc__)
    with Blocks(mode="server", analytics_enabled=False, title=title) as blocks:
        for function, options in server._deferred_apis:
            register(fn=function, **options)
    blocks.queue(default_concurrency_limit=None)
    # what launch() sets, with everything off that a frontend does not need
    launch_settings: dict[str, Any] = {
        "dev_mode": False, "run_history": False, "show_error": True, "root_path": "", "auth": None,
        "auth_message": None, "favicon_path": None, "enable_monitoring": False, "css": "", "js": "", "head": "",
        "ssr_mode": False, "node_server_name": None, "node_port": None, "node_process": None, "i18n_instance": None,
        "share": False, "is_running": True, "theme": utils.get_theme(None), "max_file_size": max_file_size,
        "app_id": APP_ID, "footer_links": [], "allowed_paths": [], "blocked_paths": [], "css_paths": [],
        "head_paths": [],
    }  # fmt: skip
    for name, value in launch_settings.items():
        setattr(blocks, name, value)
    blocks._set_html_css_theme_variables()
    blocks.config = blocks.get_config_file()
    blocks.server_app = blocks.app = App.create_app(blocks, app=server, mcp_server=False)
    return cast("ASGIApp", server), [blocks.fns[index].api_name for index in sorted(blocks.fns)]
