"""A lean load generator: keep-alive connections over the standard library."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit


class Asker:
    """One connection that sends the same picture again and again."""

    def __init__(self, url: str, path: str, picture: bytes) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        self._path, self._picture = path, picture
        self._answer = bytearray(4 << 20)
        self.cpu = 0.0

    def __call__(self) -> float:
        """Seconds one request took; ``cpu`` has those of CPU that the job itself did.

        Raises:
            RuntimeError: the answer was not 200.
        """
        begun = time.perf_counter()
        self._connection.request("POST", self._path, self._picture, {"Content-Type": "image/jpeg"})
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.read()[:300]!r}")
        while answer.readinto(self._answer):
            pass
        self.cpu = _cpu(answer.headers["Server-Timing"])
        return time.perf_counter() - begun


def _cpu(timing: str) -> float:
    """The job's own seconds of CPU, which every way of serving tells in ``Server-Timing``."""
    entries = dict(entry.strip().split(";dur=") for entry in timing.split(","))
    return float(entries["cpu"]) / 1e3


def hammer(ask: Callable[[], Asker], *, concurrency: int, seconds: float, warm_up: float = 1.0) -> tuple[int, float]:
    """Asks from ``concurrency`` threads; returns how many were answered within ``seconds``, and the CPU they took.

    It asks before and beyond that time: what is half done at its beginning makes up for what is half done at its end.
    """
    cpu: list[float] = []
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    errors: list[Exception] = []

    def loop() -> None:
        one = ask()
        try:
            while time.perf_counter() < end:
                one()
                if begin < time.perf_counter() <= end:
                    cpu.append(one.cpu)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            errors.append(error)

    threads = [threading.Thread(target=loop) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return len(cpu), sum(cpu)
