"""The ``matte`` command: a server on this machine, and a client of any server and of a cluster's Models.

Rules that a server applies too belong to ``matte_core``. Modules are imported by their command only: see ``main``.
"""

__all__ = ["settings"]
