"""Every picture of the corpus through a whole Matte: hostile ones are refused at the door, valid ones come back cut
out, and none costs memory that is not given back.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import corpus
import httpx
import psutil
import pytest
import redis
from matte_core.contracts.job import Limits
from matte_core.errors import CODES
from matte_jobs.keys import Keyspace
from PIL import Image
from served import Served
from stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

#: requests under way at once
WIDE = 4
#: no answer may take longer
SECONDS = 60.0
REFUSED = [case for case in corpus.CASES if not case.ok]
VALID = [case for case in corpus.CASES if case.ok]
MIB = 2**20
#: of the corpus, at most, until one takes no more memory than those before it
PASSES = 5
#: bytes that a pass may take beyond those before it, 0.1 MiB per picture
NOISE = 24 * MIB


@dataclass(frozen=True)
class Answer:
    """What came back, and what it took."""

    status: int
    headers: httpx.Headers
    content: bytes
    seconds: float

    @property
    def document(self) -> dict[str, object]:
        """The problem, or {} if it is none."""
        problem = self.headers["content-type"] == "application/problem+json"
        return dict(json.loads(self.content)) if problem else {}

    def __str__(self) -> str:
        return f"{self.status} {self.document or self.headers['content-type']} after {self.seconds:.1f} s"


Answers = dict[str, Answer]


@dataclass(frozen=True)
class Pass:
    """The corpus sent once: the answers by case, what refused and valid ones left in the store, memory afterwards."""

    answers: Answers
    refused_left: set[bytes]
    sound_left: set[bytes]
    queued: int
    memory: dict[str, int]


@pytest.fixture(scope="module")
def stack(served: Served) -> Stack:
    return served.stack


@pytest.fixture(scope="module")
def first(stack: Stack) -> Pass:
    return sent(stack)


def sent(stack: Stack) -> Pass:
    """The refused ones go first: what is in the store then, they left there."""
    before = jobs(stack)
    answers = answered(stack, REFUSED)
    between, queued = jobs(stack), queue_length(stack)
    answers |= answered(stack, VALID)
    return Pass(answers, between - before, jobs(stack) - between, queued, memory(stack))


def answered(stack: Stack, cases: Iterable[corpus.Case]) -> Answers:
    with httpx.Client(base_url=stack.url, timeout=SECONDS) as client, ThreadPoolExecutor(WIDE) as threads:

        def send(case: corpus.Case) -> tuple[str, Answer]:
            begun = time.monotonic()
            got = client.post("/v2/predict", content=case.data, headers={"Content-Type": "image/jpeg"})
            return case.name, Answer(got.status_code, got.headers, got.content, time.monotonic() - begun)

        return dict(threads.map(send, cases))


def jobs(stack: Stack) -> set[bytes]:
    """Every key of the store that belongs to a job, its pictures or its events."""
    with redis.Redis.from_url(stack.redis.url) as client:
        keys = Keyspace("matte:")
        patterns = (keys.job("*"), keys.blob("*", "*"), keys.events("*"))
        return {key for pattern in patterns for key in client.scan_iter(pattern, count=1000)}


def queue_length(stack: Stack) -> int:
    return int(httpx.get(f"{stack.url}/models/grabcut").json()["queue_length"])


def memory(stack: Stack) -> dict[str, int]:
    """Bytes that are a process's alone, of the frontend and of the replica."""
    frontend = psutil.Process(next(iter(stack.frontends.values())).pid)
    (replica,) = stack.serve_processes("grabcut-2-0-0")
    return {name: process.memory_full_info().uss for name, process in (("frontend", frontend), ("replica", replica))}


def size_of(content: bytes) -> tuple[str | None, tuple[int, int], str]:
    """Format, size and mode of a picture that can be decoded whole."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        return picture.format, picture.size, picture.mode


def refused_well(answer: Answer, codes: frozenset[str]) -> bool:
    code = str(answer.document.get("code"))
    return code in codes and answer.status == CODES[code].status == answer.document["status"]


def test_every_case_was_answered_in_time_and_none_broke_matte(first: Pass) -> None:
    assert first.answers.keys() == {case.name for case in corpus.CASES}
    assert len(first.answers) == len(corpus.CASES) > 200
    broken = {name: str(a) for name, a in first.answers.items() if a.status >= 500 or a.seconds > SECONDS}
    assert broken == {}


def test_bad_pictures_are_refused_with_their_code(first: Pass) -> None:
    got = {case: first.answers[case.name] for case in REFUSED}
    assert {c.name: str(a) for c, a in got.items() if not refused_well(a, c.expect)} == {}
    assert {a.status for a in got.values()} == {413, 415, 422}


def test_a_refused_picture_never_becomes_a_job(first: Pass) -> None:
    got = {case.name: first.answers[case.name] for case in REFUSED}
    assert [name for name, a in got.items() if "x-job-id" in a.headers or "job" in a.document] == []
    assert (first.refused_left, first.queued) == (set(), 0)
    assert first.sound_left  # so a job would have been seen


def test_sound_pictures_come_back_at_their_size(first: Pass) -> None:
    """Some pass the door and break in the decoder, where the case says so; those were jobs."""
    wrong, whole = {}, 0
    for case in VALID:
        answer = first.answers[case.name]
        if answer.status == 200 and "ok" in case.decode:
            whole += 1
            if size_of(answer.content) != ("PNG", case.size, "RGBA"):
                wrong[case.name] = f"{size_of(answer.content)} for {case.size}"
        elif not (answer.status == 422 and refused_well(answer, case.decode) and answer.document.get("job")):
            wrong[case.name] = str(answer)
    assert wrong == {}
    assert whole > 80


@pytest.mark.parametrize("way", ["query", "form", "json"])
def test_an_unknown_parameter_is_refused_whichever_way_it_comes(stack: Stack, way: str) -> None:
    picture, url = corpus.VALID["jpeg"], f"{stack.url}/v2/predict"
    if way == "query":
        answer = httpx.post(f"{url}?sise=full", content=picture, headers={"Content-Type": "image/jpeg"})
    elif way == "form":
        answer = httpx.post(url, files={"image": ("a.jpg", picture)}, data={"sise": "full"})
    else:
        answer = httpx.post(url, json={"image_b64": base64.b64encode(picture).decode(), "sise": "full"})
    document = answer.json()
    assert (answer.status_code, document["code"], document["parameter"]) == (422, "unknown_parameter", "sise")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "size" in document["allowed"]
    assert "x-job-id" not in answer.headers
    assert "job" not in document


@pytest.mark.parametrize(
    ("kind", "times"), [("image/jpeg", 1.0), ("multipart/form-data; boundary=x", 3), ("application/json", 4)]
)
def test_a_body_that_announces_too_much_is_refused_unread(stack: Stack, kind: str, times: float) -> None:
    """Not one byte of the body is ever sent: an answer shows that none was waited for."""
    length = int(Limits().max_bytes * times) + 1
    host = httpx.URL(stack.url)
    head = f"POST /v2/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection((host.host, host.port or 80), timeout=10) as sock:
        sock.sendall(head.encode())
        answer = b""
        while b"payload_too_large" not in answer:
            got = sock.recv(65536)
            assert got, answer
            answer += got
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_memory_is_given_back(stack: Stack, first: Pass) -> None:
    """A leak takes more in every pass; a pass whose largest pictures happen to meet takes more once."""
    passes, most = [first.memory], first.memory
    for _ in range(PASSES):
        again = sent(stack)
        assert {name: outcome(answer) for name, answer in again.answers.items()} == {
            name: outcome(answer) for name, answer in first.answers.items()
        }
        passes.append(again.memory)
        if all(again.memory[name] <= before + NOISE for name, before in most.items()):
            return
        most = {name: max(before, again.memory[name]) for name, before in most.items()}
    pytest.fail(f"every pass takes more: {[{n: f'{b / MIB:.0f} MiB' for n, b in memory.items()} for memory in passes]}")


def outcome(answer: Answer) -> tuple[int, object]:
    return answer.status, answer.document.get("code")
