"""``matte rollout``: versions on their way, on a cluster."""
