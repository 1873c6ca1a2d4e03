"""Imported on one machine by each idle worker of Ray (``RAY_preload_python_modules``), so that Serve's controller, a
router or a replica starts in a process that has imported everything already.

Without pandas, which Serve imports if it is installed (Gradio needs it) for data frames that nobody sends: a second of
CPU and 45 MB in each process.
"""

from __future__ import annotations

import importlib
import sys

if not {"pandas", "ray.serve"} & sys.modules.keys():
    sys.modules["pandas"] = None  # type: ignore[assignment] # so an import of it fails, until it is taken out again
    try:
        importlib.import_module("ray.serve")
    finally:
        del sys.modules["pandas"]
importlib.import_module("matte_inference.apps")
