"""Load generator over the standard library's HTTP client, which costs little CPU."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit


class PredictClient:
    """A keep-alive connection that sends the same picture repeatedly. ``cpu``: CPU seconds of the last job itself."""

    def __init__(self, url: str, path: str, picture: bytes) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        self._path, self._picture = path, picture
        self._buffer = bytearray(4 << 20)
        self.cpu = 0.0

    def __call__(self) -> float:
        """Sends one request; returns its seconds. Raises RuntimeError if the status is not 200."""
        begun = time.perf_counter()
        self._connection.request("POST", self._path, self._picture, {"Content-Type": "image/jpeg"})
        response = self._connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {response.read()[:300]!r}")
        while response.readinto(self._buffer):
            pass
        timings = dict(entry.strip().split(";dur=") for entry in response.headers["Server-Timing"].split(","))
        self.cpu = float(timings["cpu"]) / 1e3
        return time.perf_counter() - begun


def generate_load(
    make_client: Callable[[], PredictClient], *, concurrency: int, seconds: float, warm_up: float = 1.0
) -> tuple[int, float]:
    """Requests completed within ``seconds``, and the jobs' CPU seconds.

    The load starts before and continues beyond the measured time, so requests that are cut off at both ends even out.
    """
    cpu: list[float] = []
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    errors: list[Exception] = []

    def loop() -> None:
        client = make_client()
        try:
            while time.perf_counter() < end:
                client()
                if begin < time.perf_counter() <= end:
                    cpu.append(client.cpu)
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
