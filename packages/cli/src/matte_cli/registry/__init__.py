"""``matte models push|pull|list|verify|diff``: versions where they lie, without a server."""
