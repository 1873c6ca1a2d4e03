"""What a router tells a replica about a job beside the job itself."""

from __future__ import annotations

from typing import NamedTuple


class Handling(NamedTuple):
    """Plain values, so that they cost nothing to hand over; nothing is set for most jobs.

    Attributes:
        fallback: the version that takes the job where this one is to blame for its failure; '': none.
        watched: an Answer is written.
        mirrored: another version computes the job as well, and compares its mask with this one's.
    """

    fallback: str = ""
    watched: bool = False
    mirrored: bool = False
