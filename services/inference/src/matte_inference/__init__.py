"""Inference on Ray Serve: one application for each model version, and a router that dispatches the queued jobs to them.

``router`` leases jobs and knows no pictures; ``replica`` runs them, with ``families`` for the models and ``pixels`` for
everything around them; ``analysis`` compares masks. Only ``deployment`` modules, ``apps``, ``local`` and ``node`` know
Ray. Serve imports ``apps`` by name, and Ray's workers ``preload``; other packages may import ``config`` and
``settings`` only.
"""

__all__ = ["config", "settings"]
