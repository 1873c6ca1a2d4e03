"""Model versions: their sources, their verification, and each node's cache of them.

How a version is run belongs to the inference service; what a version's folder may contain, to ``matte_core``.
"""

__all__ = [
    "catalog",
    "diff",
    "errors",
    "manifest",
    "policy",
    "progress",
    "registry",
    "settings",
    "signature",
    "source_url",
    "sources",
]
