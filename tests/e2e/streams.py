"""A reader of server-sent events that never reconnects: what a proxy cuts, it loses."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(eq=False)
class Reader(threading.Thread):
    """Reads the events of a job until the stream ends."""

    url: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    comments: int = 0
    problem: str = ""
    seconds: float = 0
    began: float = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    @property
    def open_seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def run(self) -> None:
        self.began = time.monotonic()
        try:
            # 40 s without a byte: the frontend's sign of life was held back
            with httpx.stream("GET", self.url, timeout=httpx.Timeout(40)) as answer:
                answer.raise_for_status()
                self._read(answer)
        except httpx.HTTPError as error:
            self.problem = f"{type(error).__name__}: {error}"
        self.seconds = self.open_seconds

    def _read(self, answer: httpx.Response) -> None:
        name = ""
        for line in answer.iter_lines():
            if line.startswith(":"):
                self.comments += 1
            elif line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                self.events.append((name, json.loads(line.removeprefix("data: "))))

    @property
    def ended(self) -> dict[str, Any] | None:
        """The last event, if it says that the job ended."""
        return next((data for name, data in reversed(self.events) if name == "finished"), None)
