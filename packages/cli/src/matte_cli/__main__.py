"""``python -m matte_cli`` is ``matte``."""

from matte_cli.main import app

app(prog_name="matte")
