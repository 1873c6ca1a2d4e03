"""What evidence a rollout has produced: numbers, and pictures whose masks differ."""
