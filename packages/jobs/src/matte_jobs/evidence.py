"""What a rollout is judged by, in Redis: orders and reports of checks, answers and pairs of masks.

The operator orders and reads; routers and replicas report. Everything here may be lost: a rollout that has no evidence
waits, and is judged inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from matte_core.contracts.base import Contract
from matte_core.contracts.evidence import (
    AnswerSample,
    AppliedWeights,
    CheckOrder,
    CheckReport,
    MaskComparison,
    MirroredPair,
    StartReport,
)

from matte_jobs.store import JobStore

C = TypeVar("C", bound=Contract)
#: samples kept per version, the newest
MAX_ANSWERS = 20_000
MAX_PAIRS = 2_000
MAX_COMPARISONS = 12
#: evidence of a version that gives no more of it is kept this long (seconds)
TTL_SECONDS = 7 * 86400
#: a mirrored job's mask waits so long for the other version (seconds)
MASK_TTL_SECONDS = 120


class EvidenceStore:
    """Evidence by pool, model and version."""

    def __init__(self, store: JobStore) -> None:
        self._redis = store.redis
        self._keys = store.keys

    # checks: the operator orders, routers report ------------------------------------------------------------------

    async def order_check(self, pool: str, order: CheckOrder) -> None:
        """Asks a Pool's routers to check a version; asking twice changes nothing. What was measured is forgotten."""
        field, text = f"{order.model}@{order.version}", order.model_dump_json()
        if await self._redis.hget(self._keys.check_orders(pool), field) == text.encode():
            return
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._keys.check_orders(pool), field, text)
            pipe.hdel(self._keys.check_reports(pool), field)
            for kind in ("answers", "pairs", "comparisons"):
                pipe.delete(self._keys.evidence(kind, order.model, order.version))
            pipe.publish(self._keys.wakeup_channel(), "")
            await pipe.execute()

    async def check_orders(self, pool: str) -> list[CheckOrder]:
        return list((await self._read_hash(self._keys.check_orders(pool), CheckOrder)).values())

    async def report_check(self, pool: str, model: str, version: str, report: CheckReport) -> None:
        await self._redis.hset(self._keys.check_reports(pool), f"{model}@{version}", report.model_dump_json())

    async def check_report(self, pool: str, model: str, version: str) -> CheckReport | None:
        """What became of an order; None where nobody has begun."""
        text = await self._redis.hget(self._keys.check_reports(pool), f"{model}@{version}")
        return CheckReport.model_validate_json(text) if text else None

    async def delete_version(self, pool: str, model: str, version: str) -> None:
        """The version is gone: no order, and no masks to compare with."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(self._keys.check_orders(pool), f"{model}@{version}")
            pipe.hdel(self._keys.check_reports(pool), f"{model}@{version}")
            pipe.delete(*(self._keys.evidence(kind, model, version) for kind in ("starts", "golden")))
            pipe.hdel(self._keys.golden_versions(model), version)
            await pipe.execute()

    # starts of replicas -------------------------------------------------------------------------------------------

    async def record_start(self, model: str, version: str, report: StartReport) -> None:
        key = self._keys.evidence("starts", model, version)
        await self._redis.hset(key, report.replica, report.model_dump_json())

    async def start_reports(self, model: str, version: str) -> list[StartReport]:
        """The replicas that have started since the version was last deleted, oldest first."""
        reports = await self._read_hash(self._keys.evidence("starts", model, version), StartReport)
        return sorted(reports.values(), key=lambda report: (report.at, report.replica))

    async def put_golden_masks(self, model: str, version: str, masks: Mapping[str, bytes], made_by: str = "") -> None:
        """A version's masks of the golden images, encoded, by the images' names; ``made_by`` names what made them."""
        if masks:
            key = self._keys.evidence("golden", model, version)
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(key)
                pipe.hset(key, mapping=dict(masks))
                pipe.hset(self._keys.golden_versions(model), version, made_by)
                await pipe.execute()

    async def golden_versions(self, model: str) -> dict[str, str]:
        """The model's versions that have masks of the golden images, and what made them."""
        made_by = await self._redis.hgetall(self._keys.golden_versions(model))
        return {version.decode(): maker.decode() for version, maker in made_by.items()}

    async def golden_masks(self, model: str, version: str) -> dict[str, bytes]:
        masks = await self._redis.hgetall(self._keys.evidence("golden", model, version))
        return {name.decode(): mask for name, mask in masks.items()}

    # measurements of replicas, oldest first; of many only the newest ----------------------------------------------

    async def record_answer(self, model: str, version: str, answer: AnswerSample) -> None:
        await self._append("answers", model, version, answer, MAX_ANSWERS)

    async def answers(self, model: str, version: str, since: float) -> list[AnswerSample]:
        return await self._read_stream("answers", model, version, AnswerSample, since)

    async def record_pair(self, model: str, version: str, pair: MirroredPair) -> None:
        await self._append("pairs", model, version, pair, MAX_PAIRS)

    async def pairs(self, model: str, version: str, since: float) -> list[MirroredPair]:
        return await self._read_stream("pairs", model, version, MirroredPair, since)

    async def record_comparison(self, model: str, version: str, comparison: MaskComparison) -> None:
        await self._append("comparisons", model, version, comparison, MAX_COMPARISONS, exact=True)

    async def comparisons(self, model: str, version: str) -> list[MaskComparison]:
        return await self._read_stream("comparisons", model, version, MaskComparison, 0)

    async def put_mask(self, job_id: str, mask: bytes) -> None:
        """A mirrored job's mask by stable, encoded, for the new version to compare its own with."""
        await self._redis.set(self._keys.mask(job_id), mask, ex=MASK_TTL_SECONDS)

    async def get_mask(self, job_id: str) -> bytes | None:
        """What :meth:`put_mask` put; None where it is not there yet, or no more."""
        mask: bytes | None = await self._redis.get(self._keys.mask(job_id))
        return mask

    # weights that routers use -------------------------------------------------------------------------------------

    async def record_applied_weights(self, pool: str, router: str, applied: AppliedWeights) -> None:
        await self._redis.hset(self._keys.applied_weights(pool), router, applied.model_dump_json())

    async def withdraw_router(self, pool: str, router: str) -> None:
        await self._redis.hdel(self._keys.applied_weights(pool), router)

    async def applied_weights(self, pool: str, now: float) -> list[AppliedWeights]:
        """What the Pool's living routers use; those that fell silent are forgotten."""
        by_router = await self._read_hash(self._keys.applied_weights(pool), AppliedWeights)
        for router, applied in by_router.items():
            if applied.expires_at <= now:
                await self.withdraw_router(pool, router)
        return [applied for applied in by_router.values() if applied.expires_at > now]

    async def _read_hash(self, key: str, contract: type[C]) -> dict[str, C]:
        fields = await self._redis.hgetall(key)
        return {field.decode(): contract.model_validate_json(text) for field, text in fields.items()}

    async def _append(
        self, kind: str, model: str, version: str, sample: Contract, limit: int, *, exact: bool = False
    ) -> None:
        key, text = self._keys.evidence(kind, model, version), sample.model_dump_json(exclude_defaults=True)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(key, {"v": text}, maxlen=limit, approximate=not exact)
            pipe.expire(key, TTL_SECONDS)
            await pipe.execute()

    async def _read_stream(self, kind: str, model: str, version: str, contract: type[C], since: float) -> list[C]:
        entries = await self._redis.xrange(self._keys.evidence(kind, model, version), min=f"{int(since * 1000)}")
        return [contract.model_validate_json(fields[b"v"]) for _, fields in entries]
