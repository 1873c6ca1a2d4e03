"""Evidence of rollouts in a real Redis."""

from __future__ import annotations

import asyncio
import time

from matte_core.contracts.evidence import (
    Agreement,
    AnswerSample,
    AppliedWeights,
    CheckOrder,
    CheckReport,
    CheckState,
    MaskComparison,
    MirroredPair,
    StartReport,
)
from matte_jobs.evidence import MAX_COMPARISONS, EvidenceStore
from matte_jobs.store import JobStore

SAME = Agreement(iou=1, boundary=1, alpha_difference=0)
ORDER = CheckOrder(model="m", version="2.0.0", attempt=1, source="file:///models/m")


async def test_an_order_is_reported_on_and_a_new_attempt_forgets(store: JobStore) -> None:
    evidence = EvidenceStore(store)
    await evidence.order_check("p", ORDER)
    assert await evidence.check_orders("p") == [ORDER]
    assert await evidence.check_report("p", "m", "2.0.0") is None
    done = CheckReport(attempt=1, state=CheckState.PASSED, at=1.0)
    await evidence.report_check("p", "m", "2.0.0", done)
    await evidence.record_start("m", "2.0.0", StartReport(replica="a", at=1.0, digest="sha256:0", golden=()))
    await evidence.order_check("p", ORDER)  # the same again
    assert await evidence.check_report("p", "m", "2.0.0") == done
    assert len(await evidence.start_reports("m", "2.0.0")) == 1
    await evidence.order_check("p", ORDER.model_copy(update={"attempt": 2}))
    assert await evidence.check_report("p", "m", "2.0.0") is None
    assert len(await evidence.start_reports("m", "2.0.0")) == 1  # its replicas may live on
    await evidence.delete_version("p", "m", "2.0.0")
    assert await evidence.start_reports("m", "2.0.0") == []
    assert await evidence.check_orders("p") == []


async def test_a_window_has_what_came_since(store: JobStore) -> None:
    evidence, begun = EvidenceStore(store), time.time()
    await evidence.record_answer("m", "1.0.0", AnswerSample(at=begun, seconds=0.1, no_subject=True, uncertainty=0.25))
    await asyncio.sleep(0.02)
    middle = time.time()
    await evidence.record_answer("m", "1.0.0", AnswerSample(at=middle, seconds=0.2, error=True))
    assert [answer.seconds for answer in await evidence.answers("m", "1.0.0", begun - 1)] == [0.1, 0.2]
    assert [answer.error for answer in await evidence.answers("m", "1.0.0", middle - 0.005)] == [True]
    recorded = [(answer.no_subject, answer.uncertainty) for answer in await evidence.answers("m", "1.0.0", begun - 1)]
    assert recorded == [(True, 0.25), (False, None)]
    assert await evidence.answers("m", "2.0.0", 0) == []


async def test_masks_are_compared_and_a_few_shown(store: JobStore) -> None:
    evidence = EvidenceStore(store)
    await evidence.put_mask("j1", b"mask")
    assert await evidence.get_mask("j1") == b"mask"
    await evidence.record_pair("m", "2.0.0", MirroredPair(at=1.0, job="j1", agreement=SAME))
    assert [pair.job for pair in await evidence.pairs("m", "2.0.0", 0)] == ["j1"]
    for number in range(MAX_COMPARISONS + 3):
        one = MaskComparison(
            at=1.0, name=f"j{number}", stable="1.0.0", agreement=SAME,
            picture="", stable_mask="", canary_mask="", difference="",
        )  # fmt: skip
        await evidence.record_comparison("m", "2.0.0", one)
    assert [one.name for one in await evidence.comparisons("m", "2.0.0")] == [
        f"j{n}" for n in range(3, MAX_COMPARISONS + 3)
    ]
    await evidence.put_golden_masks("m", "1.0.0", {"cat": b"png"})
    assert await evidence.golden_masks("m", "1.0.0") == {"cat": b"png"}


async def test_routers_say_what_they_use_until_they_fall_silent(store: JobStore) -> None:
    evidence = EvidenceStore(store)
    await evidence.record_applied_weights(
        "p", "a", AppliedWeights(expires_at=10.0, weights={"m": {"1.0.0": 90, "2.0.0": 10}})
    )
    await evidence.record_applied_weights("p", "b", AppliedWeights(expires_at=20.0, weights={"m": {"1.0.0": 100}}))
    assert len(await evidence.applied_weights("p", 5.0)) == 2
    assert [one.weights["m"] for one in await evidence.applied_weights("p", 15.0)] == [{"1.0.0": 100}]
