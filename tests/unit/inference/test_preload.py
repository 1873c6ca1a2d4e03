"""What Ray's workers load before they have work."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import matte_inference.preload
assert "ray.serve" in sys.modules
assert "matte_inference.replica.deployment" in sys.modules
assert "pandas" not in sys.modules
import pandas
assert pandas.DataFrame
"""


def test_serve_is_loaded_without_pandas_which_others_may_still_import() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
