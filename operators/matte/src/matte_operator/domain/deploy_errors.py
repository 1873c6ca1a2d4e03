"""Finds the root cause of a failed Serve application in Serve's message, with its tracebacks."""

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
_TEXT_MAX = 500
#: an error of the model registry: ``Reason: text``
_REGISTRY_ERROR = re.compile(rf"({'|'.join(Reason)}): (.+)")

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


def parse_deploy_error(message: str) -> tuple[str, str]:
    """The reason of a failure (CamelCase, stable) and its text, from Serve's message."""
    message = _ANSI.sub("", message)
    errors = [(match[1], match[2].strip()) for match in _ERROR.finditer(message)]
    root_causes = [error for error in errors if error[0] not in _WRAPPERS] or errors
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["no message"]
    text = (root_causes[-1][1] if root_causes else lines[0])[:_TEXT_MAX]
    if registry_error := _REGISTRY_ERROR.fullmatch(text):
        return registry_error[1], registry_error[2]
    reason = next((reason for pattern, reason in _REASONS if re.search(pattern, text)), "DeployFailed")
    return reason, text


def registry_reason(message: str) -> str | None:
    """The reason of an error of the model registry, ``Reason: text``; None: it is no such error."""
    match = _REGISTRY_ERROR.match(message)
    return match[1] if match else None


def has_error(message: str) -> bool:
    return _ERROR.search(_ANSI.sub("", message)) is not None
