"""``matte models push|pull|list|verify|diff``: versions at their sources, without a server."""
