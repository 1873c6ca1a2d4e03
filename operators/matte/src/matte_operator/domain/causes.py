"""What a failed Serve application says, cut down to its cause and the fix."""

from __future__ import annotations

import re

from matte_core.contracts.registry import Reason

#: ``NameOfError: text``, as Python ends a traceback with it; Ray puts ``ray::…`` lines and more tracebacks around it
_ERROR = re.compile(
    r"^\s*(?:[a-z_]\w*\.)*((?:[A-Z]\w*)?(?:Error|Exception|Problem|Interrupt))(?:\([^)]*\))?: (.+)$", re.MULTILINE
)
#: errors that only wrap another one
_WRAPPERS = frozenset({"RayTaskError", "ActorDiedError", "RayActorError", "RuntimeEnvSetupError"})
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FIRST_MAX = 500
#: what the registry says of a version: ``Reason: text``
_REGISTRY = re.compile(rf"({'|'.join(Reason)}): (.+)")

_REASONS: tuple[tuple[str, str], ...] = (
    (r"there is no folder|No such file or directory", "WeightsMissing"),
    (r"has the digest|refusing to load", "DigestMismatch"),
    (r"unknown family", "UnknownFamily"),
    (r"not installed|No module named", "FamilyNotInstalled"),
    (r"out of memory|OutOfMemory|\bOOM\b", "OutOfMemory"),
    (r"backend_unavailable|cannot be reached", "BackendUnavailable"),
    (r"has no endpoint", "BackendUnsuitable"),
    (r"unknown parameter|ValidationError|validation error", "InvalidParameters"),
    (r"has no weights of this network|safetensors", "WeightsUnusable"),
)


def cause(message: str) -> tuple[str, str]:
    """The reason (CamelCase, stable) and the text of a failure, from Serve's message with its tracebacks."""
    found = _last_error(_ANSI.sub("", message))
    if said := _REGISTRY.fullmatch(found):
        return said[1], said[2]
    reason = next((reason for pattern, reason in _REASONS if re.search(pattern, found)), "DeployFailed")
    return reason, found


def explains(message: str) -> bool:
    """Whether Serve's message has an error in it, and not only the news that something goes on."""
    return _ERROR.search(_ANSI.sub("", message)) is not None


def _last_error(text: str) -> str:
    errors = [(m.group(1), m.group(2).strip()) for m in _ERROR.finditer(text)]
    own = [pair for pair in errors if pair[0] not in _WRAPPERS] or errors
    if not own:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
        return first[:_FIRST_MAX]
    return own[-1][1][:_FIRST_MAX]
