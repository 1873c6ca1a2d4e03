"""Imported on one machine by each idle worker of Ray (``RAY_preload_python_modules``), so that Serve's controller, a
router or a replica starts in a process that has imported everything already.

Without pandas, which Serve imports if it is installed (Gradio needs it) for data frames that nobody sends: a second of
CPU and 45 MB in each process.
"""

from __future__ import annotations

import importlib
import sys


def _import_without(name: str, module: str) -> None:
    """Imports ``module`` as if ``name`` were not installed; ``name`` can be imported later."""
    if {name, module} & sys.modules.keys():
        return
    sys.modules[name] = None  # type: ignore[assignment] # so an import of it fails
    try:
        importlib.import_module(module)
    finally:
        del sys.modules[name]


_import_without("pandas", "ray.serve")
importlib.import_module("matte_inference.apps")
