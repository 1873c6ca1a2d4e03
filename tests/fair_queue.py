"""Executable specification of the queue's order: by priority, then fair between tenants, then by arrival.

Start-time fair queuing (Goyal, Vin and Cheng, SIGCOMM 1996): a job's start tag is the later of the queue's virtual time
and its tenant's last finish tag, and the tenant's finish tag is the start tag + cost / share. Virtual time is the tag
of the job served last. The Lua scripts of ``matte_jobs`` do the same arithmetic in Redis.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from matte_jobs.store import tag_increment


def sort_key(priority: int, tag: int, seq: int, job_id: str) -> str:
    """Member of the queue's sorted set; lexicographic order is queue order."""
    return f"{priority:01d}{tag:015d}{seq:015d}|{job_id}"


@dataclass(slots=True)
class FairClock:
    """Virtual time and finish tags of one model's queue, per priority."""

    virtual: dict[int, int] = field(default_factory=dict)
    finish: dict[tuple[int, str], int] = field(default_factory=dict)

    def admit(self, priority: int, tenant: str, cost: float, share: float) -> int:
        """Start tag of a new job."""
        tag = max(self.virtual.get(priority, 0), self.finish.get((priority, tenant), 0))
        self.finish[(priority, tenant)] = tag + tag_increment(cost, share)
        return tag

    def serve(self, priority: int, tag: int) -> None:
        """A job with this tag leaves the queue to be run."""
        self.virtual[priority] = max(self.virtual.get(priority, 0), tag)

    def reset(self) -> None:
        """The queue is empty: virtual time advances to the last finish tag, and all tenants are equal again."""
        for (priority, _), tag in self.finish.items():
            self.virtual[priority] = max(self.virtual.get(priority, 0), tag)
        self.finish.clear()
