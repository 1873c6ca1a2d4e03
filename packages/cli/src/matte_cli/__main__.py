"""``matte``, also as ``python -m matte_cli``."""

import sys


def main() -> None:
    """Runs the command; Ctrl-C ends it without a traceback, while it is still being imported too."""
    try:
        from matte_cli.main import app  # noqa: PLC0415 - it takes a moment, in which Ctrl-C may come

        app(prog_name="matte")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
