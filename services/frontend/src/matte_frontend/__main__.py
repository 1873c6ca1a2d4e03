"""``python -m matte_frontend``: one frontend process."""

from __future__ import annotations

import asyncio
import functools
import logging
import resource
import signal
import socket
from types import FrameType
from typing import Any, cast

import uvicorn
from matte_core.allocator import keep_freed_memory
from matte_telemetry import logs
from starlette.applications import Starlette

from matte_frontend.app import create_app
from matte_frontend.connections import ConnectionCounter, ConnectionLimits
from matte_frontend.hosts import Networks
from matte_frontend.protocol import LimitedProtocol, sweep_connections
from matte_frontend.settings import FrontendSettings

log = logging.getLogger("matte_frontend")
_OPEN_FILES = 65_536


class DrainingServer(uvicorn.Server):
    """On the first signal ``/readyz`` fails; after ``drain_seconds`` no new connection is taken and open requests may
    finish. A second signal ends it at once.
    """

    def __init__(self, app: Starlette, settings: FrontendSettings) -> None:
        self._app = app
        self._drain_seconds = settings.drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        # as many open files and sockets as the system allows
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_files = max(soft, _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, hard))
        limits = ConnectionLimits(settings, open_files=open_files)
        self._counter = ConnectionCounter(limits, Networks(settings.trusted_proxies))
        protocol = functools.partial(LimitedProtocol, self._counter, app.state.meter)
        super().__init__(
            uvicorn.Config(
                app, host=settings.host, port=settings.port, loop="uvloop", http=cast("Any", protocol), ws="none",
                access_log=False, log_config=None, server_header=False, timeout_keep_alive=settings.keep_alive_seconds,
                timeout_graceful_shutdown=settings.shutdown_seconds, backlog=2048, proxy_headers=False,
            )
        )  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._sweeper = self._loop.create_task(sweep_connections(self.server_state.connections, self._counter))
        for server in self.servers if self.started else []:
            for listening in server.sockets:
                log.info("listening on %s:%d", *listening.getsockname()[:2])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        state = getattr(self._app.state, "matte", None)
        if self._loop is None or state is None or state.draining:
            super().handle_exit(sig, frame)
            return
        state.draining = True
        log.info("draining after %s", signal.Signals(sig).name)
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._sweeper.cancel()

    def _stop(self) -> None:
        self.should_exit = True


def main() -> None:
    settings = FrontendSettings()
    logs.set_up(settings.log_level)
    keep_freed_memory()
    DrainingServer(create_app(settings, machine=socket.gethostname()), settings).run()


if __name__ == "__main__":
    main()
