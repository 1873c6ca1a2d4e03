"""Durable jobs on Redis: the store (one atomic step per move), blobs, events, and the catalog of live replicas."""
