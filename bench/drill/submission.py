"""Submits pictures by each of the APIs, and records the outcome in a :class:`Job`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bench.drill.client import FinalAnswerError, RetryingClient
from bench.drill.pictures import content_type
from bench.drill.verdict import Job, Probe

POLL_SECONDS = 0.5
ENDED = frozenset({"succeeded", "failed", "dead", "canceled", "expired"})
Api = Callable[[RetryingClient, Job, bytes], Awaitable[bytes]]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def send(client: RetryingClient, job: Job, picture: bytes) -> None:
    """Submits a job through its API and waits for its result."""
    try:
        data = await APIS[job.api](client, job, picture)
        job.digest = digest(data)
        job.answered = time.monotonic()
    except FinalAnswerError as error:
        job.failure = str(error)


async def admit(client: RetryingClient, job: Job, picture: bytes) -> str:
    """Submits by ``POST /v1/jobs``; returns the id."""
    headers = {"Content-Type": content_type(picture), "Idempotency-Key": job.key}
    answer = await client.request("POST", f"/v1/jobs?version={job.version}", content=picture, headers=headers)
    return str(answer.json()["id"])


async def poll(client: RetryingClient, job: Job, picture: bytes) -> bytes:
    job.id = await admit(client, job, picture)
    job.accepted = time.monotonic()
    while True:
        view = (await client.request("GET", f"/v1/jobs/{job.id}")).json()
        if view["state"] in ENDED:
            return await result(client, job)
        await asyncio.sleep(POLL_SECONDS)


async def result(client: RetryingClient, job: Job) -> bytes:
    return (await client.request("GET", f"/v1/jobs/{job.id}/result")).content


async def predict(client: RetryingClient, job: Job, picture: bytes) -> bytes:
    """Synchronous; the idempotency key makes it safe to repeat at another frontend."""
    headers = {"Content-Type": content_type(picture), "Idempotency-Key": job.key}
    path = f"/models/grabcut/predict?version={job.version}"
    answer = await client.request("POST", path, content=picture, headers=headers)
    job.id = answer.headers["X-Job-Id"]
    return answer.content


async def events(client: RetryingClient, job: Job, picture: bytes) -> bytes:
    """Raises FinalAnswerError for an event that came twice or out of order."""
    job.id = await admit(client, job, picture)
    job.accepted = time.monotonic()
    last = (0, 0)
    async for id_, kind, _ in client.events(f"/v1/jobs/{job.id}/events"):
        if not id_:  # a position
            continue
        number = tuple(int(part) for part in id_.split("-"))
        if number <= last:
            raise FinalAnswerError(f"event {id_} ({kind}) came after {last}")
        last = (number[0], number[1])
    return await result(client, job)


async def gradio(client: RetryingClient, job: Job, picture: bytes) -> bytes:
    """Like Gradio's guide for curl: upload, call, follow, download. There are no idempotency keys."""
    files = {"files": ("picture", picture, content_type(picture))}
    path = (await client.request("POST", "/gradio_api/upload", files=files)).json()[0]
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
    answer = await client.request("POST", "/gradio_api/call/remove_background", json=body)
    job.id, job.accepted = str(answer.json()["event_id"]), time.monotonic()
    ended: Any = None
    async for _, kind, ended in client.events(f"/gradio_api/call/remove_background/{job.id}", resumed=False):
        if kind == "error":
            raise FinalAnswerError(f"Gradio's call ended with {ended}")
    return (await client.request("GET", f"/gradio_api/file={ended[0]['path']}")).content


APIS: Mapping[str, Api] = {"poll": poll, "predict": predict, "events": events, "gradio": gradio}
#: consecutive jobs use these APIs
API_ROTATION = ("poll", "predict", "events", "poll", "predict", "gradio")


async def audit(client: RetryingClient, job: Job, picture: bytes) -> None:
    """Reads a finished job again in every way that must give the same result."""
    try:
        job.reread_digest = digest(await result(client, job))
        stream = (await client.request("GET", f"/v1/jobs/{job.id}/events")).text
        job.finished_events = stream.splitlines().count("event: finished")
        if job.api != "gradio":
            job.resent_id = await admit(client, job, picture)
    except FinalAnswerError as error:
        job.failure = f"after its answer: {error}"


async def probe(client: RetryingClient, probe: Probe, picture: bytes, version: str, key: str) -> None:
    headers = {"Content-Type": content_type(picture), "Idempotency-Key": key}
    path = f"/models/grabcut/predict?version={version}"
    await client.request("POST", path, content=picture, headers=headers, within=10.0)
    probe.answered = time.monotonic()
