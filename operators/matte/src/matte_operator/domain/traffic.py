"""How a Model's traffic is split: as the spec asks where that is possible, else as before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from matte_core.contracts.k8s.model import ModelSpec


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What the split depends on. ``rank``: newer versions have higher ones."""

    version: str
    pool: str
    ready: bool
    rank: int


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """Percent by version (0: reached by rules only). ``refusal``: why the spec's split is not applied; '' if it is."""

    weights: Mapping[str, int]
    refusal: str = ""


def desired_weights(spec: ModelSpec) -> dict[str, int]:
    return {target.version: target.weight for target in spec.traffic} or {spec.version: 100}


def split_traffic(spec: ModelSpec, old: Mapping[str, int], versions: Iterable[VersionFacts]) -> TrafficSplit:
    """The split from now on. ``old`` is the one until now; shares of versions that are gone go to the others."""
    known = {facts.version: facts for facts in versions}
    desired = desired_weights(spec)
    current = {version: weight for version, weight in old.items() if version in known}
    refusal = _refusal(spec, desired, current, known)
    if not refusal:
        return TrafficSplit(desired)
    if total := sum(current.values()):  # the same proportions, with 100 as their sum
        scaled = {version: weight * 100 // total for version, weight in current.items()}
        largest = max(scaled, key=lambda version: (scaled[version], version))
        return TrafficSplit({**scaled, largest: scaled[largest] + 100 - sum(scaled.values())}, refusal)
    if spec.traffic:
        return TrafficSplit({}, refusal)
    ready = [facts for facts in known.values() if facts.ready]
    return TrafficSplit({max(ready, key=lambda facts: facts.rank).version: 100} if ready else {}, refusal)


def _refusal(
    spec: ModelSpec, desired: Mapping[str, int], current: Mapping[str, int], known: Mapping[str, VersionFacts]
) -> str:
    if unknown := sorted(set(desired) - set(known) - {spec.version}):
        return f"there is no version {', '.join(unknown)}; there is {', '.join(sorted(known)) or 'none yet'}"
    # a version that has traffic keeps it while it is not ready
    unready = [v for v in desired if v not in current and not (v in known and known[v].ready)]
    if unready:
        return f"{', '.join(sorted(unready))} is not ready"
    pools = {known[version].pool for version, weight in desired.items() if weight}
    if len(pools) > 1:
        return f"its versions are in the Pools {', '.join(sorted(pools))}: traffic is split within one Pool"
    return ""
