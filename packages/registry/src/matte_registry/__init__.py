"""Model versions: where they lie, what they are, and a cache of them on each node."""
