"""Queries of addresses that take few parameters or none."""

from matte_core.errors import Problem
from starlette.requests import Request


def only(request: Request, *allowed: str) -> None:
    """Refuses what is not allowed.

    Raises:
        Problem: unknown_parameter.
    """
    if request.url.query:
        for name in request.query_params:
            if name not in allowed:
                may = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
                raise Problem(
                    "unknown_parameter", f"{request.url.path} has no parameter {name!r}; {may}.",
                    parameter=name, allowed=list(allowed),
                )  # fmt: skip
