"""Contracts between Matte's processes, and rules that more than one of them needs.

``pictures`` and ``domain`` import ``contracts``, which imports ``errors``; never the other way. Nothing here reads a
clock, the environment, a file or the network. A rule that only one service needs belongs to that service.
"""

__all__ = ["allocator", "contracts", "domain", "errors", "pictures"]
