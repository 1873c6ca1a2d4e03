"""``make bench-peers``: ``matte serve`` and ``rembg s`` side by side over HTTP, with the same ONNX file and pictures.

Both run from the beginning to the end; they are asked in turn, block by block, so that what else happens on the machine
hits both. Takes about half an hour on two cores; the section of bench/quality.md is written after every block.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil
from matte_registry.errors import RegistryError
from stack import free_port

from bench.drill.server import Server
from bench.quality import page
from bench.quality.__main__ import log, name_npm_registry
from bench.quality.composites import composites
from bench.quality.measure import decode_rgba
from bench.quality.parity import model_folder, rembg_environment
from bench.quality.rembg_environment import locked_version, rembg_python

#: megapixels of the pictures
SIZES = (0.3, 0.5, 0.8, 1.2, 2.0, 3.0, 5.0, 8.0, 12.0)
CONCURRENCIES = (1, 8)
#: pictures per block and concurrent request
_BLOCK = 5
_START_SECONDS = 300.0
CONFIG = """
default_model: isnet
versions:
- {{model: isnet, version: 1.0.0, family: onnx, source: {source}, weight: 100, slots: 2, threads: {threads}}}
"""


@dataclass(slots=True)
class Measured:
    """Of one server. ``seconds`` of each answer and ``wall`` of all blocks, by concurrency; ``memory``: bytes (PSS) by
    the number of pictures before.
    """

    seconds: dict[int, list[float]] = field(default_factory=dict)
    wall: dict[int, float] = field(default_factory=dict)
    memory: list[tuple[int, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        return sum(map(len, self.seconds.values())) + len(self.failures)


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server: the address and form of a request, and its processes."""

    url: str
    field: str
    fields: Mapping[str, str]
    parameters: Mapping[str, str]
    processes: Server | subprocess.Popen[bytes]

    def memory(self) -> float:
        """Bytes that would be free without it (PSS)."""
        if isinstance(self.processes, Server):
            found = [process for process, _ in self.processes.processes()]
        else:
            root = psutil.Process(self.processes.pid)
            found = [root, *root.children(recursive=True)]
        total = 0.0
        for process in found:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total


def mixed_pictures() -> list[bytes]:
    """JPEGs of all sizes, so mixed that neighbors differ: composites, enlarged or shrunk."""
    made = []
    for number, composite in enumerate(composites(2 * len(SIZES))):
        array = cv2.cvtColor(decode_rgba(composite.picture), cv2.COLOR_RGBA2BGR)
        scale = (SIZES[number * 4 % len(SIZES)] * 1e6 / (array.shape[0] * array.shape[1])) ** 0.5
        interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        resized = cv2.resize(array, None, fx=scale, fy=scale, interpolation=interpolation)
        made.append(bytes(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]))
    return made


@contextlib.contextmanager
def matte(folder: Path, model: Path) -> Iterator[Peer]:
    config = CONFIG.format(source=model, threads=os.cpu_count() or 1)
    server = Server(folder, free_port(), quick=False, config=config, frontends=1)
    try:
        server.start()
        asyncio.run(server.wait_ready())
        yield Peer(f"{server.urls[0]}/predict", "image", {}, {}, server)
        for problem in asyncio.run(server.shut_down()):
            log(f"Matte: {problem}")
    finally:
        server.destroy()


@contextlib.contextmanager
def rembg(folder: Path, model: Path) -> Iterator[Peer]:
    port = free_port()
    with (folder / "rembg.log").open("wb") as output:
        process = subprocess.Popen(
            [rembg_python().with_name("rembg"), "s", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            env=rembg_environment(model) | {"BROWSER": "true"}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd=folder,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url, trust_env=False)
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"rembg s does not start:\n{(folder / 'rembg.log').read_text()[-2000:]}")
            time.sleep(0.3)
        extras = json.dumps({"model_path": str(model / "model.onnx")})
        yield Peer(f"{url}/api/remove", "file", {"model": "dis_custom"}, {"extras": extras}, process)
    finally:
        process.terminate()
        process.wait()


async def send_block(peer: Peer, pictures: Sequence[bytes], concurrency: int, measured: Measured) -> None:
    """Sends the pictures, ``concurrency`` at a time."""
    queue, took = list(pictures)[::-1], measured.seconds.setdefault(concurrency, [])

    async def loop(client: httpx.AsyncClient) -> None:
        while queue:
            files = {peer.field: ("picture.jpg", queue.pop(), "image/jpeg")}
            begun = time.perf_counter()
            try:
                answer = await client.post(peer.url, files=files, data=dict(peer.fields), params=dict(peer.parameters))
                answer.raise_for_status()
            except httpx.HTTPError as error:
                measured.failures.append(f"{type(error).__name__}: {error}".splitlines()[0])
            else:
                took.append(time.perf_counter() - begun)

    async with httpx.AsyncClient(timeout=600, trust_env=False) as client:
        begun = time.perf_counter()
        await asyncio.gather(*(loop(client) for _ in range(concurrency)))
        measured.wall[concurrency] = measured.wall.get(concurrency, 0.0) + time.perf_counter() - begun


def blocks(count: int) -> Iterator[tuple[int, int]]:
    """Concurrency and number of pictures of each block, ``count`` pictures in all: a third of them one at a time."""
    for concurrency, left in zip(CONCURRENCIES, (count // 3, count - count // 3), strict=True):
        size = _BLOCK * concurrency
        yield from ((concurrency, min(size, left - done)) for done in range(0, left, size))


def peers_section(results: Mapping[str, Measured], wanted: int, how: str) -> str:
    done = min(each.pictures for each in results.values())
    partial = f" **Not finished: {done} of {wanted} pictures.**" if done < wanted else ""
    lines = [
        f"""## Matte and rembg over HTTP

{how}

`matte serve` and `rembg s` with the same ONNX file, `catalog://isnet@1.0.0`, rembg's constants and as many threads,
asked in turn with the same {wanted} JPEGs of {SIZES[0]} to {SIZES[-1]:.0f} megapixels for a PNG: `POST /predict` and
`POST /api/remove`.{partial}

| server | at once | pictures | answers per second | p50, s | p95, s | failed |
|---|---|---|---|---|---|---|"""
    ]
    for concurrency in CONCURRENCIES:
        for name, each in results.items():
            if took := each.seconds.get(concurrency):
                rate = len(took) / each.wall[concurrency]
                middle, late = np.quantile(took, (0.5, 0.95))
                lines.append(
                    f"| {name} | {concurrency} | {len(took)} | {rate:.3f} | {middle:.2f} | {late:.2f} "
                    f"| {len(each.failures) if concurrency == CONCURRENCIES[-1] else '–'} |"
                )
    lines += ["\nMemory of all its processes (PSS), Matte's with Ray, Redis and the frontend:\n"]
    points = _spread([count for count, _ in next(iter(results.values())).memory])
    lines += [f"| after pictures | {' | '.join(map(str, points))} |", "|---" * (len(points) + 1) + "|"]
    for name, each in results.items():
        found = dict(each.memory)
        cells = (f"{found[point] / 1e6:.0f} MB" if point in found else "–" for point in points)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, each in results.items():
        lines += [f"\n{name}: {text}" for text in dict.fromkeys(each.failures)]
    return "\n".join(lines)


def _spread(counts: Sequence[int], most: int = 8) -> list[int]:
    """At most ``most`` of the counts, evenly spread, with the first and the last."""
    if len(counts) <= most:
        return list(counts)
    return [counts[round(step * (len(counts) - 1) / (most - 1))] for step in range(most)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality.peers", description=__doc__)
    parser.add_argument("--pictures", type=int, default=300, metavar="N", help="sent to each server (%(default)s)")
    parser.add_argument("--report", type=Path, default=page.PAGE, metavar="FILE", help="the page (bench/quality.md)")
    parsed = parser.parse_args(arguments)
    if parsed.pictures < 6:
        parser.error("--pictures: at least 6")
    return parsed


def main() -> int:
    arguments = parse(sys.argv[1:])
    name_npm_registry()
    how = page.conditions(*(f"onnxruntime {version('onnxruntime')}", f"rembg {locked_version('rembg')}"))
    results = {"Matte": Measured(), "rembg": Measured()}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="matte-peers-") as name,
            model_folder("catalog://isnet@1.0.0") as model,
            rembg(Path(name), model) as rembg_peer,
            matte(Path(name), model) as matte_peer,
        ):
            peers = {"Matte": matte_peer, "rembg": rembg_peer}
            log("making pictures")
            pictures = itertools.cycle(mixed_pictures())
            first = next(pictures)
            for peer in peers.values():  # both load what they load lazily
                asyncio.run(send_block(peer, [first], 1, Measured()))
            for label, peer in peers.items():
                results[label].memory.append((0, peer.memory()))
            for concurrency, size in blocks(arguments.pictures):
                block = list(itertools.islice(pictures, size))
                for label, peer in peers.items():
                    asyncio.run(send_block(peer, block, concurrency, results[label]))
                    results[label].memory.append((results[label].pictures, peer.memory()))
                text = peers_section(results, arguments.pictures, how)
                page.write_section(arguments.report, "peers", text)
                log(
                    ", ".join(
                        f"{label} {each.pictures}: {each.memory[-1][1] / 1e6:.0f} MB" for label, each in results.items()
                    )
                )
    except (RegistryError, RuntimeError) as error:
        log(str(error))
        return 2
    except KeyboardInterrupt:
        log("interrupted; the page has what was measured")
        return 130
    sys.stdout.write(text + "\n")
    return 1 if any(each.failures for each in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
