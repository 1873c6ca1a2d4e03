"""A frontend that takes the owner from a header, in the place of a real identity."""

from __future__ import annotations

from matte_core.contracts.job import ANONYMOUS, Owner
from matte_frontend.__main__ import DrainingServer
from matte_frontend.app import create_app
from matte_frontend.settings import FrontendSettings
from matte_telemetry import logs
from starlette.requests import Request


def owner_from_header(request: Request) -> Owner:
    tenant, _, user = request.headers.get("x-test-owner", "").partition("/")
    return Owner(tenant, user) if tenant else ANONYMOUS


if __name__ == "__main__":
    settings = FrontendSettings()
    logs.set_up(settings.log_level)
    DrainingServer(create_app(settings, identify=owner_from_header), settings).run()
