"""The golden images: photographs that a version answers at its start, before any user's."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

import semver
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.evidence import GoldenResult, MaskComparison, StartReport
from matte_core.contracts.job import Limits
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore

from matte_inference.analysis import masks
from matte_inference.families.base import Segmenter
from matte_inference.pixels.arrays import UInt8Array
from matte_inference.pixels.decode import decode
from matte_inference.replica.forwarder import Forwarder
from matte_inference.replica.stages import decode_job

log = logging.getLogger("matte.replica")

#: to be raised whenever the stages around the network change the masks
_STAGES_VERSION = "1"
#: a replica starts without the known masks if the store does not answer within so many seconds
STORE_SECONDS = 2.0
#: other versions that a mask is compared with, the newest
MAX_VERSIONS = 16
_MAX_ERROR_LENGTH = 300


def built_in_images() -> dict[str, bytes]:
    """The photographs that come with Matte, encoded, by name."""
    folder = files("matte_inference") / "analysis" / "golden"
    images = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".jpg"))
    return {name.removesuffix(".jpg"): entry.read_bytes() for name, entry in images}


def masks_fingerprint(config: VersionConfig, digest: str, images: Mapping[str, bytes]) -> str:
    """A hash of everything that decides the masks: if it is the same, so are they."""
    parts = f"{_STAGES_VERSION}\0{digest}\0{config.model_dump_json(include={'family', 'parameters'})}"
    sha = hashlib.sha256(parts.encode())
    for name in sorted(images):
        sha.update(f"\0{name}\0".encode() + hashlib.sha256(images[name]).digest())
    return sha.hexdigest()


@dataclass(eq=False)
class GoldenImages:
    """A version's masks of the golden images; ``images`` are encoded pictures by name."""

    evidence: EvidenceStore
    config: VersionConfig
    segmenter: Segmenter
    forwarder: Forwarder
    limits: Limits
    images: Mapping[str, bytes]
    _fingerprint: str = field(default="", init=False)
    _already_stored: bool = field(default=False, init=False)
    _masks: dict[str, UInt8Array] = field(default_factory=dict, init=False)
    _errors: dict[str, str] = field(default_factory=dict, init=False)

    async def compute(self) -> None:
        """Computes the masks; raises nothing.

        If another replica of the same version has stored masks, only the first image is computed. Where its mask agrees
        with the stored one, the others are taken from there.
        """
        self._fingerprint = masks_fingerprint(self.config, self.segmenter.digest, self.images)
        model, version = self.config.model, self.config.version
        stored: dict[str, UInt8Array] = {}
        try:
            async with asyncio.timeout(STORE_SECONDS):
                if (await self.evidence.golden_versions(model)).get(version) == self._fingerprint:
                    stored = _decode_masks(await self.evidence.golden_masks(model, version))
        except (Problem, TimeoutError) as error:
            log.warning("golden images of %s: the store does not answer: %s", self.config.app, error)
        self._already_stored = bool(stored)
        for number, name in enumerate(self.images):
            if number and name in stored:
                self._masks[name] = stored[name]
                continue
            await self._compute(name)
            if name in stored:
                mask = self._masks.get(name)
                same = mask is not None and mask.shape == stored[name].shape
                if mask is None or not same or masks.is_rejected(masks.agreement(mask, stored[name])):
                    stored, self._already_stored = {}, False

    async def report(self, replica: str, now: float) -> None:
        """Stores the masks, compares them with those of other versions, and reports the replica's start."""
        model, version = self.config.model, self.config.version
        others = (await self.evidence.golden_versions(model)).keys() - {version}
        newest = sorted(others, key=semver.Version.parse)[-MAX_VERSIONS:]
        by_version = {other: _decode_masks(await self.evidence.golden_masks(model, other)) for other in newest}
        results, rejected = await asyncio.to_thread(self._compare, by_version, now)
        if not self._already_stored:
            encoded = {name: masks.encode_mask(mask) for name, mask in self._masks.items()}
            await self.evidence.put_golden_masks(model, version, encoded, self._fingerprint)
            for comparison in rejected:
                await self.evidence.record_comparison(model, version, comparison)
        report = StartReport(replica=replica, at=now, digest=self.segmenter.digest, golden=results)
        await self.evidence.record_start(model, version, report)

    async def _compute(self, name: str) -> None:
        try:
            job = await asyncio.to_thread(decode_job, self.segmenter, [self.images[name]], self.limits)
            outcome = (await self.forwarder.forward_alone(job.prepared)).outcome
            if isinstance(outcome, Problem):
                raise outcome
            full_size_alpha = await asyncio.to_thread(self.segmenter.finish, job.pixels, outcome)
            self._masks[name] = masks.shrink(full_size_alpha, masks.PREVIEW_SIDE)
        except Exception as error:  # it is reported; whether the version may serve is decided elsewhere
            log.warning("golden image %s of %s: %s", name, self.config.app, error)
            self._errors[name] = (str(error) or type(error).__name__)[:_MAX_ERROR_LENGTH]

    def _compare(
        self, others: Mapping[str, Mapping[str, UInt8Array]], now: float
    ) -> tuple[tuple[GoldenResult, ...], list[MaskComparison]]:
        rejected: list[MaskComparison] = []
        results = []
        for name, data in self.images.items():
            mask = self._masks.get(name)
            if mask is None:
                results.append(GoldenResult(name=name, error=self._errors.get(name, "no mask")))
                continue
            comparable = {v: other[name] for v, other in others.items() if name in other}
            comparable = {version: other for version, other in comparable.items() if other.shape == mask.shape}
            agreements = {version: masks.agreement(mask, other) for version, other in comparable.items()}
            results.append(GoldenResult(name=name, bad_mask=masks.coverage(mask).value, agreements=agreements))
            for version, agreed in agreements.items():
                if masks.is_rejected(agreed):
                    pictures = (decode(data, self.limits).rgb, comparable[version], mask)
                    rejected.append(masks.compare_masks(name, version, agreed, pictures, now))
        return tuple(results), rejected


def _decode_masks(encoded: Mapping[str, bytes]) -> dict[str, UInt8Array]:
    return {name: mask for name, data in encoded.items() if (mask := masks.decode_mask(data)) is not None}
