"""A stock ``gradio.Server``: what its own clients make of a generator is what they shall make of a frontend's calls.

The generator yields a small picture and then a large one, in another format, as ``remove_background`` does.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gradio import Server
from gradio.data_classes import FileData
from PIL import Image

app = Server()


@app.api(name="remove_background")  # type: ignore[untyped-decorator]
def remove_background(image: FileData, model: str = "") -> Iterator[FileData]:
    """``model`` changes nothing: the frontends' endpoint has it in this place."""
    del model
    folder = Path(tempfile.mkdtemp())
    with Image.open(str(image["path"] if isinstance(image, dict) else image.path)) as picture:
        picture.resize((64, 48)).save(folder / "preview.webp")
        yield FileData(path=str(folder / "preview.webp"))
        picture.save(folder / "result.png")
    yield FileData(path=str(folder / "result.png"))


if __name__ == "__main__":
    app.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=False)
