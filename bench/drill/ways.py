"""The ways in which people send a picture and come by its result. Each fills in a :class:`Job`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bench.drill.client import LastWordError, PatientClient
from bench.drill.pictures import content_type
from bench.drill.verdict import Job, Probe

POLL_SECONDS = 0.5
ENDED = frozenset({"succeeded", "failed", "dead", "canceled", "expired"})
Way = Callable[[PatientClient, Job, bytes], Awaitable[bytes]]


def digest(data: bytes) -> str:
    """What two results are compared by."""
    return hashlib.sha256(data).hexdigest()


async def send(client: PatientClient, job: Job, picture: bytes) -> None:
    """Sends a job in its way and waits for its result as long as it takes."""
    try:
        data = await WAYS[job.way](client, job, picture)
        job.digest = digest(data)
        job.answered = time.monotonic()
    except LastWordError as error:
        job.failure = str(error)


async def admit(client: PatientClient, job: Job, picture: bytes) -> str:
    """``POST /v1/jobs``; the id."""
    headers = {"Content-Type": content_type(picture), "Idempotency-Key": job.key}
    answer = await client.ask("POST", f"/v1/jobs?version={job.version}", content=picture, headers=headers)
    return str(answer.json()["id"])


async def _accepted(client: PatientClient, job: Job, picture: bytes) -> None:
    job.id = await admit(client, job, picture)
    job.accepted = time.monotonic()


async def poll(client: PatientClient, job: Job, picture: bytes) -> bytes:
    """A job, asked for every half second."""
    await _accepted(client, job, picture)
    while True:
        view = (await client.ask("GET", f"/v1/jobs/{job.id}")).json()
        if view["state"] in ENDED:
            return await result(client, job)
        await asyncio.sleep(POLL_SECONDS)


async def result(client: PatientClient, job: Job) -> bytes:
    """The bytes of a job's result."""
    return (await client.ask("GET", f"/v1/jobs/{job.id}/result")).content


async def predict(client: PatientClient, job: Job, picture: bytes) -> bytes:
    """A synchronous call; under its key it can be sent again at another frontend."""
    headers = {"Content-Type": content_type(picture), "Idempotency-Key": job.key}
    path = f"/models/grabcut/predict?version={job.version}"
    answer = await client.ask("POST", path, content=picture, headers=headers)
    job.id = answer.headers["X-Job-Id"]
    return answer.content


async def events(client: PatientClient, job: Job, picture: bytes) -> bytes:
    """A job whose events are followed to the end, over lost connections.

    Raises:
        LastWordError: an event came twice, or out of order.
    """
    await _accepted(client, job, picture)
    last = (0, 0)
    async for id_, kind, _ in client.events(f"/v1/jobs/{job.id}/events"):
        if not id_:  # a position
            continue
        number = tuple(int(part) for part in id_.split("-"))
        if number <= last:
            raise LastWordError(f"event {id_} ({kind}) came after {last}")
        last = (number[0], number[1])
    return await result(client, job)


async def gradio(client: PatientClient, job: Job, picture: bytes) -> bytes:
    """As Gradio's own guide does it with curl: upload, call, listen, fetch. There are no keys."""
    files = {"files": ("picture", picture, content_type(picture))}
    path = (await client.ask("POST", "/gradio_api/upload", files=files)).json()[0]
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
    answer = await client.ask("POST", "/gradio_api/call/remove_background", json=body)
    job.id, job.accepted = str(answer.json()["event_id"]), time.monotonic()
    ended: Any = None
    async for _, kind, ended in client.events(f"/gradio_api/call/remove_background/{job.id}", resumed=False):
        if kind == "error":
            raise LastWordError(f"Gradio's call ended with {ended}")
    return (await client.ask("GET", f"/gradio_api/file={ended[0]['path']}")).content


WAYS: Mapping[str, Way] = {"poll": poll, "predict": predict, "events": events, "gradio": gradio}
#: of every so many jobs, so many go each way
TURNS = ("poll", "predict", "events", "poll", "predict", "gradio")


async def audit(client: PatientClient, job: Job, picture: bytes) -> None:
    """Reads a finished job once more, in every way that must give the same."""
    try:
        job.again = digest(await result(client, job))
        stream = (await client.ask("GET", f"/v1/jobs/{job.id}/events")).text
        job.finished_events = stream.splitlines().count("event: finished")
        if job.way != "gradio":
            job.resent_id = await admit(client, job, picture)
    except LastWordError as error:
        job.failure = f"after its answer: {error}"


async def probe(client: PatientClient, probe: Probe, picture: bytes, version: str, key: str) -> None:
    """One small picture, asked for until it is answered."""
    headers = {"Content-Type": content_type(picture), "Idempotency-Key": key}
    path = f"/models/grabcut/predict?version={version}"
    await client.ask("POST", path, content=picture, headers=headers, within=10.0)
    probe.answered = time.monotonic()
