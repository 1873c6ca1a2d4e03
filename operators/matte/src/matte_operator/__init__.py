"""The operator: turns Pools and Models into RayServices.

``controller`` watches and makes passes; ``reconciler`` reads a ``snapshot``, ``plan`` and ``domain`` decide what is
to be written, ``render`` writes the manifests. What other packages need to know of these rules lives in ``matte_core``.
"""

__all__: list[str] = []
