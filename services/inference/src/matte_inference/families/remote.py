"""A model that another Gradio app serves: the picture is sent there, and the alpha is read from the answer.

Parameters of a version:
    url: the app's root address, http or https.
    api_name: its endpoint, picture in, picture out.
    timeout_seconds: how long one picture may take there, including its time in the app's queue.
    max_side: larger pictures are scaled down to it before they are sent; pixels of the longer side.
    refine: ``guided`` fits the alpha to the picture's edges.
A cut-out's transparency is the alpha; a gray picture without transparency is a mask. Redirects are not followed, and
files are downloaded from the app itself only, whatever address it names.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import itertools
import logging
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import cv2
import httpx
import numpy as np
import simplejpeg
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import Limits
from matte_core.errors import Problem
from matte_registry.manifest import text_digest
from pydantic import Field, field_validator

from matte_inference.families.base import Alpha, Prepared, to_size, validate
from matte_inference.pixels.arrays import Pixels, UInt8Array, fit_within, resize
from matte_inference.pixels.decode import decode
from matte_inference.settings import disable_gradio_analytics

log = logging.getLogger("ray.serve")

#: seconds to connect, and to answer a check
_CONNECT_SECONDS, _PROBE_SECONDS = 5.0, 5.0
#: of the app's description
_MAX_CONFIG_BYTES = 20_000_000
#: files of one answer that are read
_MAX_FILES = 4
_LIMITS = Limits()
#: seconds before a broken file is read again
_READ_RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0)
#: a mask saved as a color JPEG is not perfectly gray: levels between the channels, and share of pixels beyond
_MAX_GRAY_SPREAD, _MAX_COLORED_SHARE = 16, 0.01
_QUALITY = 95


class Parameters(Contract):
    url: str = Field(pattern=r"^https?://[^\s]+$", max_length=2048)
    api_name: str = Field("/remove_background", pattern=r"^/[A-Za-z0-9_/-]+$", max_length=253)
    timeout_seconds: float = Field(60.0, gt=0, le=3600)
    max_side: int = Field(2048, ge=64, le=8192)
    refine: Literal["none", "guided"] = "none"

    @field_validator("url")
    @classmethod
    def _no_secrets(cls, url: str) -> str:
        if "@" in urlsplit(url).netloc:
            raise ValueError("an address with a password in it is shown in logs: leave it out")
        return url.rstrip("/") + "/"


@functools.cache
def _tls() -> ssl.SSLContext:
    """Shared: a picture takes six requests, and reading the certificates takes 30 ms of CPU."""
    return httpx.create_ssl_context()


class GradioApp:
    """The other app. Thread-safe; a connection that was lost is made again by the next call.

    All methods raise ``Problem("backend_unavailable")`` if the app cannot be reached, and ``Problem("backend_failed")``
    if it answers otherwise than expected.
    """

    def __init__(self, parameters: Parameters, *, slots: int) -> None:
        self._parameters, self._slots = parameters, slots
        self._lock = threading.Lock()
        self._client: Any = None
        self._fingerprint = ""
        self.version = ""

    def check(self) -> None:
        """Connects, or checks that the app still answers and has not changed."""
        with self._lock:
            try:
                config = self._read(f"{self._parameters.url}config", _MAX_CONFIG_BYTES, _PROBE_SECONDS)
                fingerprint = hashlib.sha256(config).hexdigest()
                if self._client is None or self._fingerprint != fingerprint:
                    self._client = None
                    self._client, self._fingerprint = self._connect(), fingerprint
            except (OSError, ValueError, KeyError, httpx.HTTPError) as error:
                raise self._unavailable(error) from error

    def segment(self, jpeg: bytes) -> list[str]:
        """Sends a picture; the paths of the files that the app answers with."""
        from gradio_client import handle_file  # noqa: PLC0415 - slow to import, and only this family needs it
        from gradio_client.exceptions import AppError  # noqa: PLC0415
        from gradio_client.utils import QueueError  # noqa: PLC0415

        client = self._connected_client()
        with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
            file.write(jpeg)
            file.flush()
            job = client.submit(handle_file(file.name), api_name=self._parameters.api_name)
            try:
                return find_files(job.result(timeout=self._parameters.timeout_seconds))
            except TimeoutError as error:
                job.cancel()
                raise self._failed(f"gave no answer within {self._parameters.timeout_seconds:g} s") from error
            except AppError as error:
                raise self._failed(f"failed on this picture: {str(error)[:300]}") from error
            except httpx.HTTPStatusError as error:
                if error.response.status_code < 500:
                    raise self._failed(f"refused the picture with status {error.response.status_code}") from error
                raise self._unavailable(error) from error
            except (OSError, httpx.HTTPError, QueueError, concurrent.futures.CancelledError) as error:
                raise self._unavailable(error) from error
            except Exception as error:  # the client raises anything on an answer it does not understand
                raise self._failed(f"gave an answer that is none ({type(error).__name__})") from error

    def fetch(self, path: str) -> bytes:
        """Downloads a file of an answer, from the app itself."""
        client = self._connected_client()
        url = f"{client.src_prefixed}file={quote(path)}"
        try:
            return self._read(url, _LIMITS.max_bytes, self._parameters.timeout_seconds, client.headers, client.cookies)
        except httpx.HTTPStatusError as error:
            raise self._failed(f"did not give its answer's file: status {error.response.status_code}") from error
        except (OSError, httpx.HTTPError) as error:
            raise self._unavailable(error) from error
        except ValueError as error:
            raise self._failed(str(error)) from error

    def _connected_client(self) -> Any:
        client = self._client
        if client is None:
            self.check()
            client = self._client
        if client is None:  # lost again at once
            raise self._unavailable("the connection was lost")
        return client

    def _connect(self) -> Any:
        disable_gradio_analytics()
        from gradio_client import Client  # noqa: PLC0415

        client = Client(
            self._parameters.url, token=False, max_workers=self._slots, verbose=False, download_files=False,
            analytics_enabled=False, ssl_verify=_tls(),
            httpx_kwargs={"timeout": httpx.Timeout(self._parameters.timeout_seconds, connect=_CONNECT_SECONDS)},
        )  # fmt: skip
        self.version = str(client.config.get("version", ""))
        names = sorted(name for name in client._info["named_endpoints"] if name)
        if self._parameters.api_name not in names:
            there = ", ".join(names) or "none"
            raise self._failed(f"has no endpoint {self._parameters.api_name}; api_name can be: {there}")
        return client

    @staticmethod
    def _read(url: str, max_bytes: int, seconds: float, headers: Any = None, cookies: Any = None) -> bytes:
        """Downloads at most ``max_bytes`` within ``seconds``. Raises httpx.HTTPError or OSError for an error or no
        answer, ValueError for more bytes or a redirect.
        """
        deadline, data = time.monotonic() + seconds, bytearray()
        timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        with httpx.stream("GET", url, headers=headers, cookies=cookies, timeout=timeout, verify=_tls()) as response:
            if response.is_redirect:
                raise ValueError("answered with a redirect: url must be the app's own address")
            response.raise_for_status()
            for piece in response.iter_bytes():
                data += piece
                if len(data) > max_bytes:
                    raise ValueError(f"answered with more than {max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer came too slowly")
        return bytes(data)

    def _unavailable(self, error: object) -> Problem:
        """Drops the connection."""
        self._client = None
        text = str(error) or type(error).__name__
        return Problem("backend_unavailable", f"The app at {self._parameters.url}: {text[:300]}", retry_after=5)

    def _failed(self, what: str) -> Problem:
        return Problem("backend_failed", f"The app at {self._parameters.url} {what}.")


class RemoteSegmenter:
    """Sends every picture to the app as a JPEG and reads the alpha out of its answer."""

    device = "remote"
    remote, batch_limit = True, 1

    def __init__(self, app: GradioApp, parameters: Parameters) -> None:
        self._app, self._parameters = app, parameters

    @property
    def digest(self) -> str:
        """Of all that is known of the app: its address, its endpoint and its version."""
        return text_digest(f"{self._parameters.url} {self._parameters.api_name} {self._app.version}")

    def available(self) -> bool:
        try:
            self._app.check()
        except Problem as problem:
            log.warning("%s", problem)
            return False
        return True

    def prepare(self, pixels: Pixels) -> Prepared:
        """A JPEG of the picture, uint8 (bytes,)."""
        rgb = resize(pixels.rgb, *fit_within(pixels.height, pixels.width, side=self._parameters.max_side))
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=_QUALITY, colorsubsampling="444")
        return np.frombuffer(jpeg, np.uint8)

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        return [self._segment(jpeg.tobytes()) for jpeg in batch]

    def _segment(self, jpeg: bytes) -> UInt8Array:
        """The alpha in the first file of the answer that has one, else the problem of its first file."""
        first: Problem | None = None
        for path in self._app.segment(jpeg):
            try:
                return self._read(path)
            except Problem as problem:
                if problem.code == "backend_unavailable":
                    raise
                first = first or problem
        raise first or Problem("backend_failed", f"The app at {self._parameters.url} answered without a picture.")

    def _read(self, path: str) -> UInt8Array:
        """The alpha in an answer's file, read again if it is broken: Gradio names files by their content, and rewrites
        one while others read it when the same answer is made twice at once.
        """
        for wait in _READ_RETRY_SECONDS:
            try:
                return read_alpha(self._app.fetch(path))
            except Problem:
                time.sleep(wait)
        return read_alpha(self._app.fetch(path))

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        """The alpha at the picture's size; ``Problem("backend_failed")`` if it has another shape than the picture."""
        height, width = alpha.shape
        skew = abs(width * pixels.height - height * pixels.width)  # a side that was rounded is half a pixel off
        if skew > max(pixels.height, pixels.width) + 0.02 * width * pixels.height:
            raise Problem(
                "backend_failed",
                f"The app at {self._parameters.url} answered a picture of {pixels.width} × {pixels.height} pixels"
                f" with one of {width} × {height}.",
            )
        return to_size(pixels, alpha, guided=self._parameters.refine == "guided")


def find_files(answer: object) -> list[str]:
    """Paths of the first few files in an answer of any nesting."""

    def paths(part: object) -> Iterator[str]:
        if isinstance(part, dict):
            path = part.get("path")
            if isinstance(path, str) and path:
                yield path
            else:
                part = [*part.values()]
        if isinstance(part, list | tuple):
            for each in part:
                yield from paths(each)

    return list(itertools.islice(paths(answer), _MAX_FILES))


def read_alpha(data: bytes) -> UInt8Array:
    """The alpha in an answer's file, uint8 (H, W): its transparency, or the brightness of a gray picture. Raises
    ``Problem("backend_failed")`` if it is neither, or cannot be decoded.
    """
    try:
        pixels = decode(data, _LIMITS)
    except Problem as problem:
        raise Problem("backend_failed", f"The app that serves the model answered: {problem.detail}") from problem
    if pixels.alpha is not None:
        return pixels.alpha
    if (np.ptp(pixels.rgb, axis=2) > _MAX_GRAY_SPREAD).mean() > _MAX_COLORED_SHARE:
        raise Problem(
            "backend_failed",
            "The app that serves the model answered with a color picture without transparency;"
            " it must give a cut-out or a gray mask.",
        )
    gray: UInt8Array = cv2.cvtColor(pixels.rgb, cv2.COLOR_RGB2GRAY)
    return gray


def load(config: VersionConfig, device: str | None = None) -> RemoteSegmenter:  # noqa: ARG001 - every family's signature
    """Connects to the app; if it is away, the version is not available yet. Raises ValueError for wrong parameters, or
    if the app has no such endpoint; the message names those it has.
    """
    parameters = validate(Parameters, config.parameters, config.app)
    app = GradioApp(parameters, slots=config.slots)
    try:
        app.check()
    except Problem as problem:
        if problem.code == "backend_failed":
            raise ValueError(f"{config.app}: {problem.detail}") from problem
        log.warning("%s: %s", config.app, problem)
    return RemoteSegmenter(app, parameters)
