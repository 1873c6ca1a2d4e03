import asyncio

import pytest
from matte_inference.replica.forwarder import Batcher


class Device:
    """Takes batches one at a time; each ends when it is released."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Semaphore(0)

    async def forward(self, batch: list[int]) -> list[int]:
        self.batches.append(batch)
        await self.gate.acquire()
        if -1 in batch:
            raise RuntimeError("the device is lost")
        return [item * 10 for item in batch]

    def release(self, n: int = 100) -> None:
        for _ in range(n):
            self.gate.release()


async def submit(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Tasks that wait for the items, each submitted in a turn of its own."""
    tasks = []
    for item in items:
        tasks.append(asyncio.create_task(batcher(item)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def test_what_waits_for_the_device_goes_through_it_together_in_order() -> None:
    device = Device()
    tasks = await submit(Batcher(device.forward, max_batch_size=3, wait_seconds=0.0), 1, 2, 3, 4, 5)
    device.release()
    assert await asyncio.gather(*tasks) == [10, 20, 30, 40, 50]
    assert device.batches == [[1], [2, 3, 4], [5]]


async def test_it_rests_and_begins_again() -> None:
    device = Device()
    device.release()
    batcher = Batcher(device.forward, max_batch_size=3, wait_seconds=0.0)
    assert await batcher(1) == 10
    assert await batcher(2) == 20
    assert device.batches == [[1], [2]]


async def test_a_batch_waits_for_more_until_it_is_full_or_late() -> None:
    device = Device()
    device.release()
    full = Batcher(device.forward, max_batch_size=2, wait_seconds=60.0)
    assert await asyncio.gather(*await submit(full, 1, 2)) == [10, 20]
    late = Batcher(device.forward, max_batch_size=3, wait_seconds=0.05)
    assert await asyncio.gather(*await submit(late, 3, 4)) == [30, 40]
    assert device.batches == [[1, 2], [3, 4]]


async def test_what_a_batch_raises_hurts_no_other() -> None:
    device = Device()
    tasks = await submit(Batcher(device.forward, max_batch_size=2, wait_seconds=0.0), 1, -1, 2, 3)
    device.release()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert (ended[0], ended[3]) == (10, 30)
    assert [str(error) for error in ended[1:3]] == ["the device is lost"] * 2


async def test_one_whose_caller_left_is_not_forwarded() -> None:
    device = Device()
    tasks = await submit(Batcher(device.forward, max_batch_size=2, wait_seconds=0.0), 1, 2, 3)
    tasks[1].cancel()
    device.release()
    assert list(await asyncio.gather(tasks[0], tasks[2])) == [10, 30]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert device.batches == [[1], [3]]
