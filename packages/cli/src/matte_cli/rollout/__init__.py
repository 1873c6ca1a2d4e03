"""``matte rollout``: shows and controls the rollouts of a cluster's Models."""
