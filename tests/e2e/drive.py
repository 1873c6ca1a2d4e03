"""``matte …`` for an address that this machine's resolver does not know: HOST ADDRESS, then the arguments."""

from __future__ import annotations

import socket
import sys
from typing import Any

from matte_cli.main import app


def main(host: str, address: str, arguments: list[str]) -> None:
    """Runs the command; the host's name means the address, as /etc/hosts would have it."""
    real = socket.getaddrinfo

    def getaddrinfo(asked: Any, *args: Any, **kwargs: Any) -> Any:
        return real(address if asked in {host, host.encode()} else asked, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]
    app(arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
