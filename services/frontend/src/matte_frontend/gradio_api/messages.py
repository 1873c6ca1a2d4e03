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

    ``call_id`` is the job's (Gradio: the event's); ``root`` is the public address that ends in ``/gradio_api``, for
    links to files. With ``diffs``, values after the first one are sent as changes to it, as ``/queue/data`` does.
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
        message: Message | None = None
        match item.type:
            case "queued":
                message = self._estimation(item.data["position"], item.data["queue_length"], None)
            case "started":
                self._started_at = item.at
                message = self._message("process_starts", eta=None)
            case "progress":
                fraction, stage = item.data.get("fraction"), item.data.get("stage")
                unit = {"index": None, "length": None, "unit": None, "progress": fraction, "desc": stage}
                message = self._message("progress", progress_data=[unit])
            case "retrying":
                text = "The process that ran the job is gone; it runs again."
                message = self._message("log", log=text, level="info", title="Retrying", duration=10, visible=True)
            case "preview":
                content_type = str(item.data.get("content_type", "image/webp"))
                message = self._generating(self._file_data("preview", content_type, None), item)
            case "finished":
                if (problem := event_problem(self._id, item)) is not None:
                    return [self._failed(problem)]
                result = Result.model_validate(item.data["result"])
                ref = result.files["result"]
                file = self._file_data("result", ref.content_type, ref.size)
                # an output of its own would break callers who expect one file
                file["meta"] |= {"foreground": result.foreground, "uncertainty": result.uncertainty}
                last_value = [self._generating(file, item)] if self._generated else []
                completed = self._message("process_completed", success=True, output=self._output([file], item))
                return [*last_value, completed]
        return [message] if message else []

    def rejected(self, document: dict[str, Any]) -> Message:
        """The end of a call that was rejected and never became a job."""
        return self._failed(Problem.from_document(document))

    def _failed(self, problem: Problem) -> Message:
        title = CODES[problem.code].title
        return self._message(
            "process_completed", success=False, title=title, output={"error": problem.text, "title": title}
        )

    def _estimation(self, rank: int, size: int, eta: float | None) -> Message:
        return self._message("estimation", rank=rank, queue_size=size, rank_eta=eta)

    def _generating(self, file: Message, event: Event) -> Message:
        value = [["replace", [], file]] if self._generated and self._diffs else file
        self._generated = True
        output = self._output([value], event) | {"is_generating": True}
        return self._message("process_generating", success=True, output=output)

    def _output(self, data: list[Any], event: Event) -> Message:
        seconds = event.at - self._started_at if self._started_at else 0.0
        return {
            "data": data, "is_generating": False, "duration": seconds, "average_duration": seconds,
            "render_config": None, "changed_state_ids": [],
        }  # fmt: skip

    def _message(self, name: str, **fields: Any) -> Message:
        return {"msg": name, "event_id": self._id, **fields}

    def _file_data(self, name: str, content_type: str, size: int | None) -> Message:
        """A ``FileData`` that both clients can fetch from any frontend."""
        file = f"{name}.{file_extension(content_type)}"
        path = f"jobs/{self._id}/{file}"
        return {
            "path": path, "url": f"{self._root}/file={path}", "size": size, "orig_name": file,
            "mime_type": content_type, "is_stream": False, "meta": {"_type": "gradio.FileData"},
        }  # fmt: skip


def is_last(message: Message) -> bool:
    return bool(message["msg"] == "process_completed")
