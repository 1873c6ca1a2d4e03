"""How a model's traffic is to be split: what was asked for where it can be, else as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from matte_core.contracts.k8s.model import ModelSpec


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What the split must know of a version. ``rank``: newer is higher."""

    version: str
    pool: str
    ready: bool
    rank: int


@dataclass(frozen=True, slots=True)
class Split:
    """Per cent by version (a 0 answers pins only), and why what was asked for is not done; '' where it is."""

    weights: Mapping[str, int]
    refused: str = ""


def wanted(spec: ModelSpec) -> dict[str, int]:
    """What is asked for."""
    return {target.version: target.weight for target in spec.traffic} or {spec.version: 100}


def split(spec: ModelSpec, old: Mapping[str, int], versions: Iterable[VersionFacts]) -> Split:
    """The split from now on.

    Args:
        spec: the model's.
        old: the split until now; weights of versions that are gone are given to the others.
        versions: those that exist.
    """
    known = {facts.version: facts for facts in versions}
    asked = wanted(spec)
    kept = {version: weight for version, weight in old.items() if version in known}
    if not (why := _obstacle(spec, asked, kept, known)):
        return Split(asked)
    if any(kept.values()):
        return Split(_whole(kept), why)
    if spec.traffic:
        return Split({}, why)
    ready = [facts for facts in known.values() if facts.ready]
    return Split({max(ready, key=lambda facts: facts.rank).version: 100} if ready else {}, why)


def _obstacle(
    spec: ModelSpec, asked: Mapping[str, int], kept: Mapping[str, int], known: Mapping[str, VersionFacts]
) -> str:
    unknown = sorted(set(asked) - set(known) - {spec.version})
    if unknown:
        there = ", ".join(sorted(known)) or "none yet"
        return f"there is no version {', '.join(unknown)}; there is {there}"
    unready = [version for version in asked if version not in kept and not (version in known and known[version].ready)]
    if unready:
        return f"{', '.join(sorted(unready))} is not ready"
    pools = {known[version].pool for version, weight in asked.items() if weight}
    if len(pools) > 1:
        return f"its versions are in the Pools {', '.join(sorted(pools))}: traffic is split within one Pool"
    return ""


def _whole(weights: Mapping[str, int]) -> dict[str, int]:
    """The same proportions, with 100 as their sum."""
    total = sum(weights.values())
    scaled = {version: weight * 100 // total for version, weight in weights.items()}
    largest = max(scaled, key=lambda version: (scaled[version], version))
    return {**scaled, largest: scaled[largest] + 100 - sum(scaled.values())}
