from starlette.routing import BaseRoute
from matte_frontend.settings import GatewaySettings


def routes(settings: GatewaySettings) -> list[BaseRoute]:
    return []
