"""Errors as RFC 9457 problem details, each with a stable ``code``.

:class:`Problem` is raised where an error is found, and answered by the frontend or stored in a failed job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

TYPE_PREFIX = "https://matte.dev/problems/"


class Fault(StrEnum):
    CALLER = "caller"
    VERSION = "version"  # of the model: another version may succeed
    STORE = "store"  # the job store's: it says nothing about the job or the version
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Code:
    """``retryable``: the same request may succeed later."""

    status: int
    title: str
    fault: Fault = Fault.CALLER
    retryable: bool = False


CODES: Mapping[str, Code] = {
    # the request
    "malformed_request": Code(400, "The request could not be read"),
    "unknown_parameter": Code(422, "The request has a parameter that does not exist"),
    "invalid_parameter": Code(422, "A parameter has a value that is not allowed"),
    "picture_missing": Code(422, "The request has no picture"),
    "headers_too_large": Code(431, "The request's headers are too large"),
    "request_timeout": Code(408, "The request came too slowly"),
    "host_not_allowed": Code(421, "The server does not answer to this host name"),
    "origin_not_allowed": Code(403, "The page's origin is not allowed"),
    "idempotency_key_reused": Code(422, "The idempotency key was used for a different request"),
    # the picture
    "payload_too_large": Code(413, "The picture has too many bytes"),
    "not_a_picture": Code(415, "The bytes are not a picture"),
    "unsupported_format": Code(415, "The picture's format is not supported"),
    "picture_empty": Code(422, "The picture has no bytes or no pixels"),
    "picture_truncated": Code(422, "The picture ends too early"),
    "picture_corrupt": Code(422, "The picture cannot be decoded"),
    "picture_animated": Code(422, "The picture has more than one frame"),
    "too_many_pixels": Code(422, "The picture has too many pixels"),
    # what was asked for
    "not_found": Code(404, "There is nothing at this address"),
    "not_acceptable": Code(406, "The answer cannot be given in an accepted media type"),
    "range_not_satisfiable": Code(416, "The answer has no such part"),
    "method_not_allowed": Code(405, "This address does not take this method"),
    "model_not_found": Code(404, "There is no such model"),
    "version_not_found": Code(404, "The model has no such version"),
    "job_not_found": Code(404, "There is no such job"),
    "job_not_finished": Code(409, "The job has no result yet"),
    "job_not_dead": Code(409, "The job is not on the dead-letter list"),
    "job_canceled": Code(410, "The job was canceled"),
    "job_expired": Code(410, "The job waited too long and expired"),
    "result_expired": Code(410, "The result was kept for its time and is gone"),
    # the platform
    "too_many_connections": Code(429, "The client has too many connections", Fault.PLATFORM, retryable=True),
    "connections_exhausted": Code(503, "The frontend has no connection left", Fault.PLATFORM, retryable=True),
    "queue_full": Code(429, "The queue is full", Fault.PLATFORM, retryable=True),
    "out_of_memory": Code(503, "The model ran out of memory on this picture", Fault.VERSION, retryable=True),
    "attempts_exhausted": Code(503, "The job failed on every attempt", Fault.PLATFORM),
    "model_not_ready": Code(503, "The model is not ready yet", Fault.PLATFORM, retryable=True),
    "storage_unavailable": Code(503, "The job store cannot be reached", Fault.STORE, retryable=True),
    "storage_full": Code(503, "The job store is full", Fault.STORE, retryable=True),
    "shutting_down": Code(503, "This frontend is shutting down", Fault.PLATFORM, retryable=True),
    "backend_failed": Code(502, "The app that serves the model gave no usable answer", Fault.VERSION, retryable=True),
    "backend_unavailable": Code(503, "The app that serves the model cannot be reached", Fault.VERSION, retryable=True),
    "wait_exceeded": Code(504, "The job is still running", Fault.PLATFORM),
    "internal_error": Code(500, "Something went wrong in Matte", Fault.VERSION),
}


class Problem(Exception):  # noqa: N818 - the field's word (RFC 9457)
    """An error that a caller can be told about: a key of :data:`CODES`, what is wrong in this case and how to fix it,
    seconds for ``Retry-After``, and further members of the problem document.
    """

    def __init__(self, code: str, detail: str, *, retry_after: float | None = None, **extensions: Any) -> None:
        if code not in CODES:
            raise KeyError(code)
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.extensions = extensions

    @property
    def status(self) -> int:
        return CODES[self.code].status

    @property
    def fault(self) -> Fault:
        return CODES[self.code].fault

    @property
    def retryable(self) -> bool:
        return CODES[self.code].retryable

    @property
    def text(self) -> str:
        """The detail, or the title if there is none; both together would repeat themselves."""
        return self.detail or CODES[self.code].title

    def document(self, instance: str | None = None) -> dict[str, Any]:
        """The RFC 9457 document; ``instance`` is the path of the request."""
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code, "title": CODES[self.code].title, "status": self.status, "code": self.code,
            "detail": self.detail,
        }  # fmt: skip
        optional = {"instance": instance, "retry_after": self.retry_after}
        return document | {name: value for name, value in optional.items() if value is not None} | self.extensions

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Problem:
        """Reads :meth:`document`; an unknown code becomes ``internal_error``."""
        standard = {"type", "title", "status", "code", "detail", "instance", "retry_after"}
        code = str(document.get("code"))
        return cls(
            code if code in CODES else "internal_error",
            str(document.get("detail", "")),
            retry_after=document.get("retry_after"),
            **{k: v for k, v in document.items() if k not in standard},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (Problem.from_document, (self.document(),))
