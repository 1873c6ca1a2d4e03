"""The golden images: photographs that a version answers at its start, before any user's."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files

import semver
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.evidence import Agreement, GoldenResult, MaskComparison, StartReport
from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore

from matte_inference.analysis.masks import agreement, coverage, shrunk
from matte_inference.analysis.shown import SIDE, differ, packed, shown, unpacked
from matte_inference.families.base import Segmenter
from matte_inference.pixels.decode import decode
from matte_inference.pixels.types import Bytes
from matte_inference.replica.course import Forwarded, Item
from matte_inference.replica.stages import open_picture

log = logging.getLogger("matte.replica")

#: raise it whenever the stages around the network change what comes of them
_STAGES = "1"
#: a store that does not answer keeps no replica from its start (seconds)
STORE_SECONDS = 2.0
#: other versions that a mask is compared with, the newest
VERSIONS_MAX = 16
_TEXT_MAX = 300


def built_in() -> dict[str, bytes]:
    """The photographs that come with Matte, encoded, by name."""
    folder = files("matte_inference") / "analysis" / "golden"
    found = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".jpg"))
    return {name.removesuffix(".jpg"): entry.read_bytes() for name, entry in found}


def made_by(config: VersionConfig, digest: str, pictures: Mapping[str, bytes]) -> str:
    """Names all that decides the masks: as long as it stays, so do they."""
    sha = hashlib.sha256(f"{_STAGES}\0{digest}\0{config.model_dump_json(include={'family', 'parameters'})}".encode())
    for name in sorted(pictures):
        sha.update(f"\0{name}\0".encode() + hashlib.sha256(pictures[name]).digest())
    return sha.hexdigest()


class Golden:
    """A replica's answers to the golden images.

    Args:
        evidence: where they are kept, and those of other versions are.
        config: the version.
        segmenter: loaded and warm.
        forward: one prepared picture to its alpha.
        limits: bounds on pictures.
        pictures: encoded, by name.
    """

    def __init__(
        self,
        evidence: EvidenceStore,
        config: VersionConfig,
        segmenter: Segmenter,
        forward: Callable[[Item], Awaitable[Forwarded]],
        *,
        limits: Limits,
        pictures: Mapping[str, bytes],
    ) -> None:
        self._evidence = evidence
        self._config = config
        self._segmenter = segmenter
        self._forward = forward
        self._limits = limits
        self._pictures = pictures
        self._made_by = ""
        self._kept = False
        self._masks: dict[str, Bytes] = {}
        self._errors: dict[str, str] = {}

    async def answer(self) -> None:
        """Computes the masks; raises nothing.

        Where another replica of the same version did it already, and the first picture's mask is the same as its, the
        others are taken from there.
        """
        self._made_by = made_by(self._config, self._segmenter.digest, self._pictures)
        known = await self._known()
        self._kept = bool(known)
        for number, name in enumerate(self._pictures):
            if number and name in known:
                self._masks[name] = known[name]
                continue
            await self._compute(name)
            if name in known and not self._same(name, known[name]):
                known, self._kept = {}, False

    async def report(self, replica: str, now: float) -> None:
        """Keeps the masks, compares them with those of other versions, and tells that the replica has started.

        Raises:
            Problem: the store cannot be reached.
        """
        others = await self._others()
        results, differing = await asyncio.to_thread(self._compared, others, now)
        if not self._kept:
            masks = {name: packed(mask) for name, mask in self._masks.items()}
            await self._evidence.put_golden_masks(self._config.model, self._config.version, masks, self._made_by)
            for one in differing:
                await self._evidence.record_comparison(self._config.model, self._config.version, one)
        digest = self._segmenter.digest
        report = StartReport(replica=replica, at=now, digest=digest, golden=results)
        await self._evidence.record_start(self._config.model, self._config.version, report)

    async def _known(self) -> dict[str, Bytes]:
        """The masks that a replica of the same version made in the same way."""
        model, version = self._config.model, self._config.version
        try:
            async with asyncio.timeout(STORE_SECONDS):
                if (await self._evidence.golden_versions(model)).get(version) != self._made_by:
                    return {}
                return _unpacked(await self._evidence.golden_masks(model, version))
        except (Problem, TimeoutError) as error:
            log.warning("golden images of %s: the store does not answer: %s", self._config.app, error)
            return {}

    async def _compute(self, name: str) -> None:
        try:
            opened = await asyncio.to_thread(open_picture, self._segmenter, [self._pictures[name]], self._limits)
            outcome = (await self._forward(Item(opened.prepared, None))).outcome
            if isinstance(outcome, Problem):
                raise outcome
            whole = await asyncio.to_thread(self._segmenter.finish, opened.pixels, outcome)
            self._masks[name] = shrunk(whole, SIDE)
        except Exception as error:  # it is told, and judged by others
            log.warning("golden image %s of %s: %s", name, self._config.app, error)
            self._errors[name] = (str(error) or type(error).__name__)[:_TEXT_MAX]

    def _same(self, name: str, known: Bytes) -> bool:
        mask = self._masks.get(name)
        return mask is not None and mask.shape == known.shape and not differ(agreement(mask, known))

    async def _others(self) -> dict[str, dict[str, Bytes]]:
        """Masks by name, by version."""
        model = self._config.model
        versions = (await self._evidence.golden_versions(model)).keys() - {self._config.version}
        newest = sorted(versions, key=semver.Version.parse)[-VERSIONS_MAX:]
        return {version: _unpacked(await self._evidence.golden_masks(model, version)) for version in newest}

    def _compared(
        self, others: Mapping[str, Mapping[str, Bytes]], now: float
    ) -> tuple[tuple[GoldenResult, ...], list[MaskComparison]]:
        differing: list[MaskComparison] = []
        results = []
        for name, data in self._pictures.items():
            mask = self._masks.get(name)
            if mask is None:
                results.append(GoldenResult(name=name, error=self._errors.get(name, "no mask")))
                continue
            beside = {v: masks[name] for v, masks in others.items() if name in masks}
            found = {v: agreement(mask, theirs) for v, theirs in beside.items() if theirs.shape == mask.shape}
            results.append(GoldenResult(name=name, bad_mask=coverage(mask).value, agreements=found))
            differing += [self._shown(name, data, v, found[v], beside[v], now) for v in found if differ(found[v])]
        return tuple(results), differing

    def _shown(
        self, name: str, data: bytes, version: str, found: Agreement, theirs: Bytes, now: float
    ) -> MaskComparison:
        return shown(name, version, found, (decode(data, self._limits).rgb, theirs, self._masks[name]), now)


def _unpacked(masks: Mapping[str, bytes]) -> dict[str, Bytes]:
    decoded = {name: unpacked(data) for name, data in masks.items()}
    return {name: mask for name, mask in decoded.items() if mask is not None}
