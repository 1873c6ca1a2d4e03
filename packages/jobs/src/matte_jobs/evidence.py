"""What a rollout is judged by, in Redis: orders and reports, answers and pairs of masks.

The operator orders and reads; routers and replicas report. Everything here may be lost: a rollout that has no evidence
waits, and is judged inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

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

from matte_jobs.connect import translated
from matte_jobs.store import JobStore

C = TypeVar("C", bound=Contract)
#: answers and pairs kept per version, the newest
ANSWERS_MAX = 20_000
PAIRS_MAX = 2_000
SHOWN_MAX = 12
#: evidence of a version that gives no more of it is kept this long (seconds)
KEEP_SECONDS = 7 * 86400
#: a mirrored job's mask waits so long for the other version (seconds)
MASK_SECONDS = 120


class EvidenceStore:
    """Evidence by pool, model and version."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._raw: Any = store.redis
        self._prefix = store.prefix

    # orders: operator → router ----------------------------------------------------------------------------------

    async def order_check(self, pool: str, order: CheckOrder) -> None:
        """Asks a Pool's routers to check a version; asking twice changes nothing. What was measured is forgotten."""
        field, text = _field(order.model, order.version), order.model_dump_json()
        with translated():
            if await self._raw.hget(self._key("orders", pool), field) == text.encode():
                return
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hset(self._key("orders", pool), field, text)
                pipe.hdel(self._key("checks", pool), field)
                for kind in ("answers", "pairs", "shown"):
                    pipe.delete(self._key(kind, field))
                pipe.publish(f"{self._prefix}wakeup", "")
                await pipe.execute()

    async def check_orders(self, pool: str) -> list[CheckOrder]:
        """What the Pool is asked to check."""
        return list((await self._hash("orders", pool, CheckOrder)).values())

    async def delete_version(self, pool: str, model: str, version: str) -> None:
        """The version is gone: no order, and no masks to compare with."""
        field = _field(model, version)
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hdel(self._key("orders", pool), field)
                pipe.hdel(self._key("checks", pool), field)
                pipe.delete(self._key("starts", field), self._key("golden", field))
                pipe.hdel(self._key("goldens", model), version)
                await pipe.execute()

    async def report_check(self, pool: str, model: str, version: str, report: CheckReport) -> None:
        """What became of an order."""
        with translated():
            await self._raw.hset(self._key("checks", pool), _field(model, version), report.model_dump_json())

    async def check_report(self, pool: str, model: str, version: str) -> CheckReport | None:
        """What became of an order; None where nobody has begun."""
        with translated():
            text = await self._raw.hget(self._key("checks", pool), _field(model, version))
        return CheckReport.model_validate_json(text) if text else None

    # starts: replica → operator ---------------------------------------------------------------------------------

    async def record_start(self, model: str, version: str, report: StartReport) -> None:
        """A replica is loaded, warm, and has answered the golden images."""
        with translated():
            await self._raw.hset(self._key("starts", _field(model, version)), report.replica, report.model_dump_json())

    async def start_reports(self, model: str, version: str) -> list[StartReport]:
        """The replicas that have started since the version was last retracted, oldest first."""
        found = await self._hash("starts", _field(model, version), StartReport)
        return sorted(found.values(), key=lambda report: (report.at, report.replica))

    async def put_golden_masks(self, model: str, version: str, masks: Mapping[str, bytes], made_by: str = "") -> None:
        """A version's masks of the golden images, encoded, by the images' names; ``made_by`` names what made them."""
        if masks:
            key = self._key("golden", _field(model, version))
            with translated():
                async with self._raw.pipeline(transaction=True) as pipe:
                    pipe.delete(key)
                    pipe.hset(key, mapping=dict(masks))
                    pipe.hset(self._key("goldens", model), version, made_by)
                    await pipe.execute()

    async def golden_versions(self, model: str) -> dict[str, str]:
        """The model's versions that have masks of the golden images, and what made them."""
        with translated():
            found = await self._raw.hgetall(self._key("goldens", model))
        return {version.decode(): made_by.decode() for version, made_by in found.items()}

    async def golden_masks(self, model: str, version: str) -> dict[str, bytes]:
        """What :meth:`put_golden_masks` kept."""
        with translated():
            found = await self._raw.hgetall(self._key("golden", _field(model, version)))
        return {name.decode(): mask for name, mask in found.items()}

    # measurements: replica → operator ---------------------------------------------------------------------------

    async def record_answer(self, model: str, version: str, answer: AnswerSample) -> None:
        """Counts an unpinned answer, or the version's failure."""
        await self._add("answers", _field(model, version), answer, ANSWERS_MAX)

    async def answers(self, model: str, version: str, since: float) -> list[AnswerSample]:
        """The answers since then, oldest first; of very many only the newest."""
        return await self._since("answers", _field(model, version), AnswerSample, since)

    async def record_pair(self, model: str, version: str, pair: MirroredPair) -> None:
        """Keeps how far a mirrored job's masks agree."""
        await self._add("pairs", _field(model, version), pair, PAIRS_MAX)

    async def pairs(self, model: str, version: str, since: float) -> list[MirroredPair]:
        """The pairs since then, oldest first."""
        return await self._since("pairs", _field(model, version), MirroredPair, since)

    async def record_comparison(self, model: str, version: str, shown: MaskComparison) -> None:
        """Keeps pictures of masks that differ; the newest few."""
        await self._add("shown", _field(model, version), shown, SHOWN_MAX, exact=True)

    async def comparisons(self, model: str, version: str) -> list[MaskComparison]:
        """Pictures of masks that differ, oldest first."""
        return await self._since("shown", _field(model, version), MaskComparison, 0)

    async def put_mask(self, job: str, mask: bytes) -> None:
        """A mirrored job's mask by stable, encoded, for the new version to compare its own with."""
        with translated():
            await self._raw.set(self._key("mask", job), mask, ex=MASK_SECONDS)

    async def get_mask(self, job: str) -> bytes | None:
        """What :meth:`put_mask` put; None where it is not there yet, or no more."""
        with translated():
            found: bytes | None = await self._raw.get(self._key("mask", job))
            return found

    # traffic: router → operator ---------------------------------------------------------------------------------

    async def record_applied_weights(self, pool: str, router: str, applied: AppliedWeights) -> None:
        """What a router uses now."""
        with translated():
            await self._raw.hset(self._key("applied", pool), router, applied.model_dump_json())

    async def withdraw_router(self, pool: str, router: str) -> None:
        """The router is gone."""
        with translated():
            await self._raw.hdel(self._key("applied", pool), router)

    async def applied_weights(self, pool: str, now: float) -> list[AppliedWeights]:
        """What the Pool's living routers use; those that fell silent are forgotten."""
        found = await self._hash("applied", pool, AppliedWeights)
        for router in [router for router, applied in found.items() if applied.expires_at <= now]:
            await self.withdraw_router(pool, router)
        return [applied for applied in found.values() if applied.expires_at > now]

    # ------------------------------------------------------------------------------------------------------------

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}rollout:{kind}:{name}"

    async def _hash(self, kind: str, name: str, contract: type[C]) -> dict[str, C]:
        with translated():
            found = await self._raw.hgetall(self._key(kind, name))
        return {field.decode(): contract.model_validate_json(text) for field, text in found.items()}

    async def _add(self, kind: str, name: str, entry: Contract, most: int, *, exact: bool = False) -> None:
        key = self._key(kind, name)
        with translated():
            async with self._raw.pipeline(transaction=False) as pipe:
                pipe.xadd(key, {"v": entry.model_dump_json(exclude_defaults=True)}, maxlen=most, approximate=not exact)
                pipe.expire(key, KEEP_SECONDS)
                await pipe.execute()

    async def _since(self, kind: str, name: str, contract: type[C], since: float) -> list[C]:
        with translated():
            found = await self._raw.xrange(self._key(kind, name), min=f"{int(since * 1000)}")
        return [contract.model_validate_json(fields[b"v"]) for _, fields in found]


def _field(model: str, version: str) -> str:
    return f"{model}@{version}"
