"""Imported on one machine by each of Ray's workers while it waits for work, so that Serve's controller, a router or a
replica starts in a process that has nothing to load any more: ``RAY_preload_python_modules`` names this module.

Without pandas, which Serve imports where it is installed (Gradio brings it) for data frames that nobody sends: a second
of CPU and 45 MB in each process.
"""

from __future__ import annotations

import importlib
import sys


def _without(name: str, module: str) -> None:
    """Imports ``module`` as if ``name`` were not installed; whoever imports ``name`` later gets it."""
    if {name, module} & sys.modules.keys():
        return
    sys.modules[name] = None  # type: ignore[assignment] # so an import of it fails
    try:
        importlib.import_module(module)
    finally:
        del sys.modules[name]


_without("pandas", "ray.serve")
importlib.import_module("matte_inference.apps")
