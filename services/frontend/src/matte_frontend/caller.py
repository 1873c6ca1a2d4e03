"""Who asks: whose the jobs are, and what decides which version answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from matte_core.contracts.owner import ANONYMOUS, Owner
from matte_core.errors import Problem
from starlette.requests import Request

from matte_frontend.frontend import frontend_of

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_ROUTE_KEY = re.compile(r"[\x20-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is. The names of ``headers`` are in lower case."""

    headers: Mapping[str, str]
    owner: Owner = ANONYMOUS
    route_key: str | None = None

    @classmethod
    def of(cls, request: Request) -> Caller:
        """A request's.

        Raises:
            Problem: invalid_parameter.
        """
        return cls(request.headers, owner_of(request), route_key(request))


def owner_of(request: Request) -> Owner:
    """Whose request it is: whoever else asks for what comes of it is told that it does not exist."""
    return frontend_of(request).identify(request)


def route_key(request: Request) -> str | None:
    """A digest of ``X-Route-Key``: equal keys stay on one version. The key itself may be a person's, and is not kept.

    Raises:
        Problem: invalid_parameter.
    """
    keys = request.headers.getlist("x-route-key")
    if not keys:
        return None
    if len(keys) > 1 or not _ROUTE_KEY.fullmatch(keys[0]):
        raise _odd("X-Route-Key", "1 to 128 printable ASCII characters, given once")
    return hashlib.blake2b(keys[0].encode(), digest_size=16, person=b"matte-route-key").hexdigest()


def idempotency_key(request: Request) -> str | None:
    """The ``Idempotency-Key``.

    Raises:
        Problem: invalid_parameter.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise _odd("Idempotency-Key", "1 to 200 visible ASCII characters")
    return key


def _odd(header: str, message: str) -> Problem:
    errors = [{"parameter": header, "message": message}]
    return Problem("invalid_parameter", f"{header} must be {message}.", errors=errors)
