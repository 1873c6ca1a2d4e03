"""Gradio's queue messages (protocol ``sse_v3``), derived from a job's own events."""

from __future__ import annotations

from typing import Any

from matte_core.contracts.job import Event, Result
from matte_core.errors import CODES, Problem

from matte_frontend.job_events import QueuePosition
from matte_frontend.problems import event_problem
from matte_frontend.responses import file_extension

Message = dict[str, Any]
HEARTBEAT: Message = {"msg": "heartbeat"}
CLOSE: Message = {"msg": "close_stream"}


class Translator:
    """Translates one job's events into messages for one reader. A call with a preview is what Gradio calls a
    generator: its values are the previews and then the result, which is sent once more when the call is completed.

    Args:
        call_id: the job's id; Gradio calls it the event's.
        root: the public address that ends in ``/gradio_api``, for links to files.
        diffs: values after the first one are sent as changes to it, as ``/queue/data`` does; else whole, as ``/call``
            does.
    """

    def __init__(self, call_id: str, root: str, *, diffs: bool = True) -> None:
        self._id = call_id
        self._root = root
        self._diffs = diffs
        self._generated = False
        self._started_at = 0.0

    def translate(self, item: Event | QueuePosition | None) -> list[Message]:
        """Messages for one item of :func:`job_events`; none for a heartbeat."""
        if item is None:
            return []
        if isinstance(item, QueuePosition):
            return [self._estimation(item.position, item.queue_length, item.eta_seconds)]
        if item.type == "finished":
            return self._finished(item)
        make = getattr(self, f"_{item.type}", None)
        return [make(item)] if make else []

    def rejected(self, document: dict[str, Any]) -> Message:
        """The end of a call that was rejected and never became a job."""
        return self._failed(Problem.from_document(document))

    def _queued(self, event: Event) -> Message:
        return self._estimation(event.data["position"], event.data["queue_length"], None)

    def _started(self, event: Event) -> Message:
        self._started_at = event.at
        return self._message("process_starts", eta=None)

    def _progress(self, event: Event) -> Message:
        unit = {
            "index": None, "length": None, "unit": None, "progress": event.data.get("fraction"),
            "desc": event.data.get("stage"),
        }  # fmt: skip
        return self._message("progress", progress_data=[unit])

    def _retrying(self, _event: Event) -> Message:
        text = "The process that ran the job is gone; it runs again."
        return self._message("log", log=text, level="info", title="Retrying", duration=10, visible=True)

    def _preview(self, event: Event) -> Message:
        content_type = str(event.data.get("content_type", "image/webp"))
        return self._generating(
            file_data(self._root, f"jobs/{self._id}/preview.{file_extension(content_type)}", content_type), event
        )

    def _generating(self, file: Message, event: Event) -> Message:
        value = [["replace", [], file]] if self._generated and self._diffs else file
        self._generated = True
        output = self._output([value], event) | {"is_generating": True}
        return self._message("process_generating", success=True, output=output)

    def _finished(self, event: Event) -> list[Message]:
        problem = event_problem(self._id, event)
        if problem is not None:
            return [self._failed(problem)]
        ref = Result.model_validate(event.data["result"]).files["result"]
        path = f"jobs/{self._id}/result.{file_extension(ref.content_type)}"
        file = file_data(self._root, path, ref.content_type, ref.size)
        last_value = [self._generating(file, event)] if self._generated else []
        completed = self._message("process_completed", success=True, output=self._output([file], event))
        return [*last_value, completed]

    def _failed(self, problem: Problem) -> Message:
        title = CODES[problem.code].title
        output = {"error": problem.text, "title": title}
        return self._message("process_completed", success=False, title=title, output=output)

    def _estimation(self, rank: int, size: int, eta: float | None) -> Message:
        return self._message("estimation", rank=rank, queue_size=size, rank_eta=eta)

    def _output(self, data: list[Any], event: Event) -> Message:
        seconds = event.at - self._started_at if self._started_at else 0.0
        return {
            "data": data, "is_generating": False, "duration": seconds, "average_duration": seconds,
            "render_config": None, "changed_state_ids": [],
        }  # fmt: skip

    def _message(self, name: str, **fields: Any) -> Message:
        return {"msg": name, "event_id": self._id, **fields}


def file_data(root: str, path: str, content_type: str, size: int | None = None) -> Message:
    """A ``FileData`` that both clients can fetch from any frontend."""
    return {
        "path": path, "url": f"{root}/file={path}", "size": size, "orig_name": path.rpartition("/")[2],
        "mime_type": content_type, "is_stream": False, "meta": {"_type": "gradio.FileData"},
    }  # fmt: skip


def is_last(message: Message) -> bool:
    """Whether it is the last message of its call."""
    return bool(message["msg"] == "process_completed")
