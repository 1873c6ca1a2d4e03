"""``python -m matte_frontend``: one gateway process."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn
from matte_jobs.allocator import keep_memory
from matte_telemetry import logs
from starlette.applications import Starlette

from matte_frontend.app import create_app
from matte_frontend.settings import GatewaySettings

log = logging.getLogger("matte_frontend")


class Draining(uvicorn.Server):
    """On the first signal ``/readyz`` says no; after ``drain_seconds`` nothing new is taken and what runs may
    finish. A second signal ends it at once.
    """

    def __init__(self, app: Starlette, settings: GatewaySettings) -> None:
        self._app = app
        self._drain = settings.drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(
            uvicorn.Config(
                app, host=settings.host, port=settings.port, loop="uvloop", http="httptools", ws="none",
                access_log=False, log_config=None, server_header=False, timeout_keep_alive=settings.keep_alive_seconds,
                timeout_graceful_shutdown=settings.shutdown_seconds, backlog=2048,
            )
        )  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says where it listens."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for server in self.servers if self.started else []:
            for listening in server.sockets:
                log.info("listening on %s:%d", *listening.getsockname()[:2])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        gateway = getattr(self._app.state, "gateway", None)
        if self._loop is None or gateway is None or gateway.draining:
            super().handle_exit(sig, frame)
            return
        gateway.draining = True
        log.info("draining after %s", signal.Signals(sig).name)
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def main() -> None:
    """Runs until a signal."""
    settings = GatewaySettings()
    logs.set_up(settings.log_level)
    keep_memory()
    Draining(create_app(settings), settings).run()


if __name__ == "__main__":
    main()
