"""The ``matte`` command: a server on this machine, and a client for any server."""
