"""What a version's rollout has shown: numbers, and pictures whose masks differ."""
