"""``python -m bench.compare FOLDER``: this checkout's Matte beside that of another, such as the commit before.

Both serve the same model at the same time and are measured in turns, with the bare job between them, so that noise of
the machine affects both. FOLDER needs its own environment (``scripts/setup.sh run`` there).
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
from stack import free_port

from bench.__main__ import CONFIG
from bench.job import SIDE, unet
from bench.measure import Servers, both_cores, idle_cpu, memory, one_at_a_time

START_SECONDS = 180.0


@contextlib.contextmanager
def serving(checkout: Path, folder: Path, source: str) -> Iterator[tuple[str, list[psutil.Process]]]:
    """``matte serve`` of a checkout: its URL, and its processes once it has been idle for a while."""
    folder.mkdir()
    config = folder / "models.yaml"
    config.write_text(CONFIG.format(source=source))
    port = free_port()
    command = ["serve", "--port", str(port), "--data-dir", str(folder / "data"), "--config", str(config)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([checkout / ".venv/bin/matte", *command], cwd=folder, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/readyz").is_success:
                    break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{checkout} did not become ready:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        time.sleep(15.0)  # Ray ends workers that it does not need
        process = psutil.Process(server.pid)
        yield url, [process, *process.children(recursive=True)]
    finally:
        server.terminate()
        server.wait(60)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("folder", type=Path, help="root of the other checkout")
    other = parser.parse_args().folder.resolve()
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        root = Path(temporary)
        source = str(unet(root, SIDE).source)
        servers: Servers = {}
        for name, checkout in (("there", other), ("here", Path(__file__).parents[1])):
            url, processes = stack.enter_context(serving(checkout, root / name, source))
            servers[name] = url, "/models/unet/predict", processes
        wall, cpu, added = one_at_a_time(servers, source)
        bare, rates = both_cores(servers, source)
        lines = [
            f"bare job: {wall * 1000:.1f} ms, {cpu * 1000:.1f} ms of CPU; two bare processes: {bare:.1f} pictures/s",
            "| | added latency, p50 | CPU outside the job | pictures, of two bare processes' | at rest | memory |",
            "|---|---|---|---|---|---|",
        ]
        for name, (_, _, parts) in servers.items():
            latency, used = added[name]
            lines.append(
                f"| {name} | {latency * 1000:.1f} ms | {used * 1000:.1f} ms | {rates[name][0] / bare:.3f} |"
                f" {idle_cpu(parts):.1%} of a core | {memory(parts) / 1e6:.0f} MB |"
            )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
