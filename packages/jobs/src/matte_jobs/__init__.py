"""Everything that Matte keeps in Redis and in the object store: jobs, their blobs and events, the replicas and routers
that are live, and the evidence of rollouts. Nothing here speaks HTTP, or knows Ray, Kubernetes or models.
"""

__all__ = ["catalog", "client", "embedded", "events", "evidence", "settings", "store", "views"]
