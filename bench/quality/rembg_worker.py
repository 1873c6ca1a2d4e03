"""Runs in rembg's environment: python rembg_worker.py MODEL. Cuts the pictures whose paths come on the standard input,
each as ``INPUT<tab>OUTPUT``, and says the seconds of each.
"""

import sys
import time
from pathlib import Path

from rembg import new_session, remove


def main() -> None:
    session = new_session("dis_custom", model_path=sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        source, target = line.rstrip("\n").split("\t")
        picture = Path(source).read_bytes()
        begun = time.perf_counter()
        cutout = remove(picture, session=session)
        took = time.perf_counter() - begun
        Path(target).write_bytes(cutout)
        print(took, flush=True)


main()
