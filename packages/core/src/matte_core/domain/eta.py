"""How long a job still takes."""


def eta_seconds(
    *, position: int, mean_megapixels: float, own_megapixels: float, seconds_per_megapixel: float, slots: int
) -> float:
    """Seconds until a queued job is done.

    Args:
        position: jobs ahead of it.
        mean_megapixels: of the jobs in the queue.
        own_megapixels: of the job itself.
        seconds_per_megapixel: measured in the replica, for one job at a time.
        slots: jobs that run at once over all live replicas; 0 counts as 1 (one will come).
    """
    ahead = position * mean_megapixels * seconds_per_megapixel / max(1, slots)
    return round(ahead + own_megapixels * seconds_per_megapixel, 3)
