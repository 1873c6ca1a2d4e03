"""A ``gradio.Server`` as a plain ASGI application.

``Server.launch()`` starts a web server of its own and an in-process queue that polls every millisecond. This does the
rest of what it does, on calls that Gradio does not document: its minor version is pinned and a test holds the glue.
The queue never runs, because no lifespan starts it: calls are served by the durable routes beside this.
"""

from __future__ import annotations

from typing import Any, cast

from gradio import Server, utils
from gradio.blocks import Blocks
from gradio.events import api as register
from gradio.routes import App
from starlette.types import ASGIApp

#: every frontend is the same application to a client that asks again elsewhere
APP_ID = 0x4D61747465


def plain_asgi(server: Server, *, title: str, max_file_size: int) -> tuple[ASGIApp, list[str]]:
    """The application, and its endpoints' names in the order of their indices (``fn_index``).

    Args:
        server: with its endpoints declared by ``@server.api``.
        title: what clients show.
        max_file_size: bytes; clients refuse larger files themselves.
    """
    with Blocks(mode="server", analytics_enabled=False, title=title) as blocks:
        for function, options in server._deferred_apis:
            register(fn=function, **options)
    blocks.queue(default_concurrency_limit=None)
    _quiet(blocks, max_file_size)
    blocks._set_html_css_theme_variables()
    blocks.config = blocks.get_config_file()
    blocks.server_app = blocks.app = App.create_app(blocks, app=server, mcp_server=False)
    return cast("ASGIApp", server), [blocks.fns[index].api_name for index in sorted(blocks.fns)]


def _quiet(blocks: Any, max_file_size: int) -> None:
    """What ``launch`` sets, with everything off that a frontend does not want."""
    off: dict[str, Any] = {
        "dev_mode": False, "run_history": False, "show_error": True, "root_path": "", "auth": None,
        "auth_message": None, "favicon_path": None, "enable_monitoring": False, "css": "", "js": "", "head": "",
        "ssr_mode": False, "node_server_name": None, "node_port": None, "node_process": None, "i18n_instance": None,
        "share": False, "is_running": True, "theme": utils.get_theme(None), "max_file_size": max_file_size,
        "app_id": APP_ID, "footer_links": [], "allowed_paths": [], "blocked_paths": [], "css_paths": [],
        "head_paths": [],
    }  # fmt: skip
    for name, value in off.items():
        setattr(blocks, name, value)
