"""Logs as JSON lines on standard error, each with the trace it belongs to."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

_EXTRA_FIELDS = ("path", "request_id", "job", "object", "event")
#: the W3C ``traceparent`` of what a task works on; '' for nothing in particular
traceparent: ContextVar[str] = ContextVar("traceparent", default="")


class JsonFormatter(logging.Formatter):
    """One JSON object per record. Known extras: path, request_id, job, object, event, traceparent."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _EXTRA_FIELDS if hasattr(record, name)}
        trace = getattr(record, "traceparent", "") or traceparent.get()
        if trace.count("-") == 3:
            _, line["trace_id"], line["span_id"], _ = trace.split("-")
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(level: str) -> None:
    """Makes the root logger write JSON lines, and nothing else."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(max(root.level, logging.WARNING))  # a line per request, else
