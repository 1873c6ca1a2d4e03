"""How many jobs each version can take now. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from matte_core.contracts.catalog import Replica


def free_slots(
    model: str,
    versions: Iterable[str],
    replicas: Iterable[Replica],
    held: Mapping[tuple[str, str], int],
    *,
    routers: int,
) -> dict[str, int]:
    """Free slots by version, without those that have none.

    Args:
        model: whose versions.
        versions: those of the route table.
        replicas: live ones, of any model.
        held: jobs this router has handed over and not heard of, by (model, version).
        routers: live routers; each takes its part of the slots.
    """
    slots: Counter[str] = Counter()
    for replica in replicas:
        if replica.model == model:
            slots[replica.version] += replica.slots
    share = {version: math.ceil(slots[version] / max(1, routers)) for version in versions}
    free = {version: count - held.get((model, version), 0) for version, count in share.items()}
    return {version: count for version, count in free.items() if count > 0}
