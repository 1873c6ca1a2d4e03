"""The store beside a real Redis: idempotency, events from any point, large blobs, limits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import redis.exceptions
from jobs import MODEL, admit, finish, make_spec
from matte_core.contracts.job import ANONYMOUS, JobState, Owner
from matte_core.errors import Problem
from matte_inference.router.background import RAY_STATE_TTL_SECONDS, refresh_ray_state
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.events import EventBroker
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from stack import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def lease_one(store: JobStore, now: float = 0.0) -> str:
    taken = await store.lease(MODEL, holder="t", now=now, until=now + 10, n=1, unassigned=True, versions={})
    return taken[0].id


async def test_the_same_idempotency_key_is_the_same_job(store: JobStore) -> None:
    first = await admit(store, "a", idempotency_key="k", fingerprint="one")
    again = await admit(store, "b", idempotency_key="k", fingerprint="one")
    assert (again.id, again.existing) == (first.id, True)
    with pytest.raises(Problem, match="idempotency_key_reused") as reused:
        await admit(store, "c", idempotency_key="k", fingerprint="other")
    assert not reused.value.extensions  # the job may be another anonymous caller's
    owners: list[dict[str, Any]] = [{"tenant": "t"}, {"tenant": "t", "user": "u"}, {"user": "t"}]
    for i, owner in enumerate(owners):
        other = await admit(store, f"other{i}", idempotency_key="k", fingerprint="one", **owner)
        assert not other.existing
    assert not [key async for key in store.redis.scan_iter(match=f"{store.keys.prefix}*:k*")]  # it may be a secret


async def test_a_job_is_its_owners_alone(store: JobStore) -> None:
    await admit(store, "a", tenant="t", user="u")
    for owner in (ANONYMOUS, Owner("t"), Owner("t", "v"), Owner("x", "u")):
        with pytest.raises(Problem, match="job_not_found"):
            await store.view("a", 0.0, owner=owner)
        with pytest.raises(Problem, match="job_not_found"):
            await store.cancel("a", 0.0, owner=owner)
    await lease_one(store)
    assert await finish(store, "a", now=1.0)
    await store.remove("a", 1.0, owner=ANONYMOUS)
    assert (await store.view("a", 1.0, owner=Owner("t", "u"))).state is JobState.SUCCEEDED


async def test_a_removed_job_leaves_nothing_and_its_key_starts_anew(store: JobStore) -> None:
    await admit(store, "a", idempotency_key="k", fingerprint="one")
    await lease_one(store)
    await finish(store, "a", now=1.0)
    await store.remove("a", 2.0)
    left = {
        key.decode().removeprefix(store.keys.prefix)
        async for key in store.redis.scan_iter(match=f"{store.keys.prefix}*")
    }
    assert not [key for key in left if "a" in key.split(":")]
    assert not (await admit(store, "b", now=3.0, idempotency_key="k", fingerprint="another")).existing


async def test_a_full_queue_refuses_and_says_when_to_come_back(redis_server: EmbeddedRedis) -> None:
    settings = StoreSettings(redis_url=redis_server.url, redis_prefix="full:", max_queue_length=2)
    store = JobStore.open(settings)
    await admit(store, "a")
    await admit(store, "b")
    with pytest.raises(Problem) as refused:
        await admit(store, "c")
    assert (refused.value.code, refused.value.status) == ("queue_full", 429)
    assert refused.value.retry_after
    await store.close()


async def fill(store: JobStore) -> None:
    for i in range(100):
        try:
            await store.redis.set(f"ballast{i}", b"x" * 100_000)
        except Problem:
            return
    raise AssertionError("Redis took everything")


async def test_a_store_without_memory_is_a_503_and_nothing_half_stored(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, max_memory_bytes=3_000_000)
    server.start()
    store = JobStore.open(StoreSettings(redis_url=server.url))
    assert await store.has_memory_for_jobs()
    spec = make_spec(store, "big")
    try:
        await fill(store)
        assert not await store.has_memory_for_jobs()
        with pytest.raises(Problem) as refused:
            await store.admit(spec, {spec.image.key: b"x" * 200_000}, 0.0)
        assert (refused.value.code, refused.value.status) == ("storage_full", 503)
        with pytest.raises(Problem, match="job_not_found"):
            await store.view("big", 0.0)
    finally:
        await store.close()
        server.stop()


async def test_events_can_be_read_from_any_point_by_any_process(store: JobStore, store_settings: StoreSettings) -> None:
    elsewhere = JobStore.open(store_settings)
    event_broker = EventBroker(elsewhere, "there")
    await event_broker.start()
    await admit(store, "a")

    async def follow(after: str) -> list[str]:
        types: list[str] = []
        async with event_broker.subscribe("a", after=after) as subscription:
            while not subscription.ended:
                types += [event.type for event in await subscription.read(15.0)]
        return types

    whole = asyncio.create_task(follow("0"))
    await asyncio.sleep(0.1)
    await lease_one(store)
    lease_token = (await store.redis.hget(store.keys.job("a"), "token")).decode()
    await store.start("a", lease_token, "1.0.0", 1.0)
    half = (await store.events("a"))[0].id
    rest = asyncio.create_task(follow(half))
    await asyncio.sleep(0.1)
    await finish(store, "a", now=2.0)
    assert await asyncio.wait_for(whole, 5) == ["queued", "started", "finished"]
    assert await asyncio.wait_for(rest, 5) == ["started", "finished"]
    assert await asyncio.wait_for(follow("0"), 5) == ["queued", "started", "finished"]
    await event_broker.close()
    await elsewhere.close()


async def test_followers_ride_over_a_restart_of_redis(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    store = JobStore.open(StoreSettings(redis_url=server.url))
    event_broker = EventBroker(store, "g")
    await event_broker.start()
    try:
        await admit(store, "a", origin="g")
        async with event_broker.subscribe("a", own_job=True) as subscription:
            waiting = asyncio.create_task(subscription.wait_finished(30))
            await lease_one(store)
            assert server.process is not None
            server.process.kill()
            server.process.wait()
            await asyncio.to_thread(server.start)
            assert await finish(store, "a", now=1.0)
            event = await waiting
        assert event is not None
        assert event.data["state"] == JobState.SUCCEEDED
    finally:
        await event_broker.close()
        await store.close()
        server.stop()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real HTTP S3 endpoint with a bucket; its address is in the environment as obstore reads it."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(100):
        try:
            httpx.put(f"{url}/blobs")
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait()


@pytest.mark.parametrize("kind", ["file", "s3"])
async def test_large_blobs_go_to_the_object_store(
    kind: str, redis_server: EmbeddedRedis, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {
        "AWS_ENDPOINT": s3, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    })  # fmt: skip
    for name in ("AWS_ENDPOINT", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        os.putenv(name, os.environ[name])
    url = f"file://{tmp_path}/blobs" if kind == "file" else "s3://blobs/jobs"
    store = JobStore.open(
        StoreSettings(redis_url=redis_server.url, redis_prefix=f"{kind}:", blob_url=url, blob_inline_max_bytes=1000)
    )
    big = b"p" * 5000
    image = store.blobs.ref("a", "image", len(big), "image/png")
    assert image.store == "object"
    await store.admit(make_spec(store, "a").model_copy(update={"image": image}), {image.key: big}, 0.0)
    assert await store.blobs.get(image) == big
    await lease_one(store)
    assert await finish(store, "a", now=1.0, content=b"c" * 9000)
    view = await store.view("a", 1.0)
    assert view.result is not None
    assert view.result.files["result"].store == "object"
    assert await store.result_bytes(view.result.files["result"]) == b"c" * 9000
    await store.sweep(2.0)
    assert await store.blobs.get(image) is None  # it was needed until the job's end
    late = view.result.files["result"].model_copy(update={"key": "a-late-token/result"})
    again = view.result.model_copy(update={"files": {"result": late}})
    assert not await store.finish("a", again, {late.key: b"late"}, now=2.0)
    await store.sweep(2.0)
    assert await store.blobs.get(late) is None
    assert await store.result_bytes(view.result.files["result"], delivered_at=3.0) == b"c" * 9000
    await store.sweep(32.0)
    assert await store.result_bytes(view.result.files["result"])
    await store.sweep(33.0)
    with pytest.raises(Problem, match="result_expired"):
        await store.result_bytes(view.result.files["result"])
    assert not list((tmp_path / "blobs").glob("*"))
    await store.close()


async def test_an_object_store_that_is_away_is_a_503(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    store = JobStore.open(
        StoreSettings(
            redis_url=redis_server.url, redis_prefix="away:", blob_url=f"file://{folder}", blob_inline_max_bytes=0
        )
    )
    folder.rmdir()
    folder.write_text("not a folder")
    with pytest.raises(Problem) as refused:
        await admit(store, "a")
    assert (refused.value.code, refused.value.status) == ("storage_unavailable", 503)
    with pytest.raises(Problem, match="job_not_found"):
        await store.view("a", 0.0)
    await store.close()


async def test_an_only_open_version_is_started_with_its_lease(store: JobStore) -> None:
    await admit(store, "a")
    await admit(store, "b")
    taken = await store.lease(
        MODEL, holder="t", now=0.0, until=10.0, n=2, unassigned=True, versions={"1.0.0": 1}, only_version="1.0.0"
    )
    assert [(lease.id, lease.version) for lease in taken] == [("a", "1.0.0")]
    started = (await store.events("a"))[-1]
    assert (started.type, started.data) == ("started", {"version": "1.0.0", "attempt": 1})
    assert (await store.view("a", 1.0)).version == "1.0.0"


async def test_the_state_of_a_live_ray_cluster_is_kept_and_no_other(store: JobStore) -> None:
    for key in ("RAYmatte-default-a@KV", "RAYmatte-default-a@NODE", "RAYmatte-default-b@KV"):
        await store.redis.set(key, "x")
    assert await refresh_ray_state(store.redis, "matte-default-a") == 2
    assert 0 < await store.redis.ttl("RAYmatte-default-a@KV") <= RAY_STATE_TTL_SECONDS
    assert await store.redis.ttl("RAYmatte-default-b@KV") == -1


async def test_dead_letters_are_listed_and_requeued(store: JobStore) -> None:
    await admit(store, "a", max_attempts=1)
    await lease_one(store)
    assert (await store.sweep(20.0)).dead == 1
    assert await store.dead_job_ids() == ["a"]
    view = await store.view("a", 20.0)
    assert view.state is JobState.DEAD
    assert view.error is not None
    assert view.error["code"] == "attempts_exhausted"
    await store.requeue_dead("a", now=20.0, expires_at=1000.0)
    assert await store.dead_job_ids() == []
    assert await lease_one(store, 20.0) == "a"
    with pytest.raises(Problem, match="job_not_dead"):
        await store.requeue_dead("a", now=20.0, expires_at=1000.0)


async def test_with_fsync_what_is_accepted_is_on_the_disk_before_anybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedRedis(tmp_path, durability="fsync")
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    store = JobStore.open(StoreSettings(redis_prefix="d:"))
    client: Any = redis.Redis(unix_socket_path=str(server.socket))
    synced, fsync = [], os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().stem, client.hget("d:job:a", "state")))

    monkeypatch.setattr(os, "fsync", watched)
    try:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        large = b"p" * 70_000
        image = store.blobs.ref("a", "image", len(large), "image/png")
        await store.admit(make_spec(store, "a").model_copy(update={"image": image}), {image.key: large}, 0.0)
        assert synced == [("image", None), ("a", None), ("blobs", None)]
        await lease_one(store)
        await finish(store, "a", now=1.0, content=large)
        assert synced[3:] == [("result", b"running"), ("a", b"running"), ("blobs", b"running")]
    finally:
        client.close()
        await store.close()
        server.stop()
