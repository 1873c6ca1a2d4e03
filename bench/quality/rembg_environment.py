"""rembg in an environment of its own, in the user's cache. Its packages are locked in rembg.txt."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from matte_registry.settings import user_cache

LOCK = Path(__file__).with_name("rembg.txt")
_ROOT = Path(__file__).parents[2]


def rembg_python() -> Path:
    """The Python that has rembg; installs it at the first call. Raises RuntimeError if that fails."""
    folder = user_cache() / "bench" / f"rembg-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    python, complete = folder / "bin/python", folder / "complete"
    if complete.exists():
        return python
    uv = shutil.which("uv") or str(_ROOT / ".uv/bin/uv")
    sys.stderr.write(f"installing rembg into {folder}\n")
    environment = os.environ | {"VIRTUAL_ENV": str(folder)}
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)],
    ):
        try:
            subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise RuntimeError("uv is missing: scripts/setup.sh installs it into .uv") from None
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"rembg could not be installed: {error.stderr.strip()[-500:]}") from None
    complete.touch()
    return python


def locked_version(package: str) -> str:
    found = re.search(rf"^{re.escape(package)}(?:\[[^]]*\])?==([^ ;\\]+)", LOCK.read_text(), re.MULTILINE)
    assert found is not None, package
    return found[1]
