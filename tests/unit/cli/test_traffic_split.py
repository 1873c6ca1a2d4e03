"""Intervals, windows of constant weights, and what is said of a run."""

from __future__ import annotations

import dataclasses
import io
import json
import random

import pytest
from matte_cli.traffic import view
from matte_cli.traffic.commands import key_header
from matte_cli.traffic.log import Answer, Failure, Log, Sample, Weights, quantile, windows, within
from matte_cli.traffic.report import CONFIDENCE, Report, RunSettings, must_move, report
from matte_core.contracts.catalog import Arm, Route
from matte_core.domain.routing import choose_arm
from matte_core.domain.statistics import wilson_interval
from rich.console import Console

EVEN: Weights = {"1.0.0": 50, "2.0.0": 50}
NEW: Weights = {"1.0.0": 10, "2.0.0": 90}


def asked(**changed: object) -> RunSettings:
    plain = RunSettings("http://x", "m", "2026-01-01T00:00:00+00:00", 10.0, None, 8, None, None, 2.0)
    return dataclasses.replace(plain, **changed)  # type: ignore[arg-type]


def samples(weights: Weights, first: float, last: float) -> list[Sample]:
    return [Sample(i / 2, i / 2 + 0.01, weights) for i in range(round(2 * first), round(2 * last) + 1)]


def answer(sent: float, version: str, took: float = 0.1, user: str | None = None) -> Answer:
    return Answer(sent, sent, sent + took, version, user)


def rendered(found: Report) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    for part in view.closing(found):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestWilson:
    @pytest.mark.parametrize(
        ("hits", "n", "confidence", "low", "high"),
        [
            # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3
            (81, 263, 0.95, 0.2553, 0.3662),
            (15, 148, 0.95, 0.0624, 0.1605),
            (0, 20, 0.95, 0.0000, 0.1611),
            (1, 29, 0.95, 0.0061, 0.1718),
        ],
    )
    def test_values(self, hits: int, n: int, confidence: float, low: float, high: float) -> None:
        found = wilson_interval(hits, n, confidence)
        assert (found.lower, found.upper) == pytest.approx((low, high), abs=5.1e-5)

    @pytest.mark.parametrize(("hits", "n"), [(1, 3), (50, 100), (9_950, 10_000)])
    def test_the_bounds_are_the_roots(self, hits: int, n: int) -> None:
        z = 2.5758293  # of 99 %
        found = wilson_interval(hits, n, CONFIDENCE)
        for p in (found.lower, found.upper):
            assert (hits / n - p) ** 2 == pytest.approx(z * z * p * (1 - p) / n, rel=1e-6)

    @pytest.mark.parametrize("n", [1, 7, 10_000])
    def test_the_ends(self, n: int) -> None:
        assert 0.0 in wilson_interval(0, n, CONFIDENCE)
        assert 1.0 in wilson_interval(n, n, CONFIDENCE)
        assert 0.0 not in wilson_interval(1, n, CONFIDENCE)

    @pytest.mark.parametrize(("hits", "n"), [(0, 0), (2, 1), (-1, 3)])
    def test_what_is_no_share(self, hits: int, n: int) -> None:
        with pytest.raises(ValueError, match="no share"):
            wilson_interval(hits, n, CONFIDENCE)

    @pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
    def test_it_covers_the_share_as_often_as_it_says(self, share: float) -> None:
        drawn = random.Random(11)
        hits = [sum(drawn.random() < share for _ in range(300)) for _ in range(1000)]
        missed = sum(share not in wilson_interval(found, 300, CONFIDENCE) for found in hits)
        assert missed < 25  # 10 are expected


@pytest.mark.parametrize(("q", "value"), [(0.0, 1.0), (0.5, 2.0), (0.75, 3.0), (0.95, 4.0), (1.0, 4.0)])
def test_quantiles(q: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], q) == value
    assert quantile([], q) is None


class TestWindows:
    def test_edges_near_a_change_are_left_out(self) -> None:
        found = windows(samples(EVEN, 0, 10) + samples(NEW, 10.5, 20), settle=2.0)
        assert [(w.start, w.end, w.weights) for w in found] == [(0.01, 8.0, EVEN), (12.51, 18.0, NEW)]

    def test_short_ones_are_none(self) -> None:
        found = windows(samples(EVEN, 0, 1.5) + samples(NEW, 2, 4) + samples(EVEN, 4.5, 20), settle=2.0)
        assert [w.weights for w in found] == [EVEN]
        assert found[0].start == 6.51
        assert windows([], 2.0) == []

    def test_what_nobody_saw_is_not_known(self) -> None:
        found = windows(samples(EVEN, 0, 10) + samples(EVEN, 14, 24), settle=2.0)
        assert [(round(w.start, 9), w.end) for w in found] == [(0.01, 8.0), (16.01, 22.0)]

    def test_a_slow_version_loses_no_more_answers_than_a_fast_one(self) -> None:
        window = windows(samples(EVEN, 0, 22), settle=2.0)[0]
        answers = [answer(i / 10, *(("2.0.0", 4.0) if i % 2 else ("1.0.0", 0.1))) for i in range(1, 200)]
        counted = within(window, answers)
        assert max(a.sent for a in counted) == 15.9  # 4 s before the end, less rounding
        assert abs(sum(1 if a.version == "2.0.0" else -1 for a in counted)) <= 1

    def test_all_count_where_all_ended_in_time(self) -> None:
        window = windows(samples(EVEN, 0, 22), settle=2.0)[0]
        assert len(within(window, [answer(i / 10, "1.0.0", 0.1) for i in range(1, 199)])) == 198


class TestReport:
    def drawn(self, weights: Weights, number: int, *, users: int | None = None, seed: int = 3) -> list[Answer]:
        draw = random.Random(seed)
        route = Route(model="m", arms=tuple(Arm(version=v, weight=w) for v, w in weights.items()))
        names = [f"drive-{i % users}" if users else None for i in range(number)]
        return [
            answer(i * 20 / number, choose_arm(route, name, draw.random()).version, user=name)
            for i, name in enumerate(names, 1)
        ]

    def test_the_router_keeps_to_the_weights(self) -> None:
        log = Log(sent=10_000, answers=self.drawn(NEW, 10_000), samples=samples(NEW, 0, 23))
        found = report(asked(), log, 23.0, interrupted=False)
        assert found.passed
        (split,) = found.splits
        assert (split.unit, split.unsteady) == ("requests", 0)
        assert split.counted > 9_900
        assert all(share.within for share in split.shares)
        assert split.shares[0].high - split.shares[0].low < 0.02

    def test_a_split_that_is_not_what_was_asked(self) -> None:
        log = Log(sent=500, answers=self.drawn(EVEN, 500), samples=samples(NEW, 0, 23))
        found = report(asked(), log, 23.0, interrupted=False)
        assert [share.within for share in found.splits[0].shares] == [False, False]
        assert found.passed  # a split is reported; failures decide
        assert "the asked share lies outside" in rendered(found)

    def test_a_version_that_nobody_asked_for(self) -> None:
        log = Log(sent=2, answers=[answer(1, "1.0.0"), answer(2, "9.0.0")], samples=samples({"1.0.0": 100}, 0, 9))
        shares = report(asked(), log, 9.0, interrupted=False).splits[0].shares
        assert [(s.version, s.asked, s.seen, s.within) for s in shares] == [
            ("1.0.0", 1.0, 1, False), ("9.0.0", 0.0, 1, False),
        ]  # fmt: skip

    def test_users_are_counted_once(self) -> None:
        log = Log(sent=4000, answers=self.drawn(EVEN, 4000, users=200), samples=samples(EVEN, 0, 23))
        found = report(asked(users=200, key_header="X-Route-Key"), log, 23.0, interrupted=False)
        (split,) = found.splits
        assert (split.unit, split.counted, split.unsteady) == ("users", 200, 0)
        assert split.shares[0].high - split.shares[0].low > 0.15
        assert split.shares[0].within

    def test_only_those_move_that_must(self) -> None:
        before, after = self.drawn({"1.0.0": 95, "2.0.0": 5}, 2000, users=1000), self.drawn(EVEN, 2000, users=1000)
        later = [dataclasses.replace(a, due=a.due + 25, sent=a.sent + 25, answered=a.answered + 25) for a in after]
        seen = samples({"1.0.0": 95, "2.0.0": 5}, 0, 23) + samples(EVEN, 23.5, 50)
        log = Log(sent=4000, answers=before + later, samples=seen)
        found = report(asked(users=1000, key_header="X-Route-Key"), log, 50.0, interrupted=False)
        (move,) = found.moves
        assert (move.users, move.must) == (1000, 0.45)
        assert move.must in wilson_interval(move.changed, move.users, CONFIDENCE)
        assert "45.0 % had to" in rendered(found)

    def test_users_that_are_not_kept(self) -> None:
        answers = [answer(i / 10, f"{i % 2 + 1}.0.0", user="drive-0") for i in range(1, 20)]
        log = Log(sent=19, answers=answers, samples=samples(EVEN, 0, 9))
        found = report(asked(users=1, key_header="X-Route-Key"), log, 9.0, interrupted=False)
        assert (found.splits[0].counted, found.splits[0].unsteady) == (1, 1)
        assert "1 users saw more than one version" in rendered(found)

    def test_failures_decide(self) -> None:
        log = Log(sent=9, answers=[answer(1, "1.0.0")], samples=samples(EVEN, 0, 9))
        log.failures += [Failure(i, "out_of_memory", "[b]too big[/b]", "j1") for i in range(6)]
        log.failures.append(Failure(7, "timeout", "none"))
        log.retried, log.retries["queue_full"] = 1, 2
        found = report(asked(planned=12), log, 9.0, interrupted=True)
        assert (found.passed, found.failed, found.abandoned, found.unsent) == (False, 7, 1, 3)
        assert found.failures == {"out_of_memory": 6, "timeout": 1}
        assert len(found.first_failures) == 5
        text = rendered(found)
        assert "✗ 7 failed (out_of_memory 6×, timeout 1×): 9 pictures in 9 s, ended early" in text
        assert "out_of_memory: [b]too big[/b] (job j1)" in text
        assert "1 pictures were sent again when the server asked for it: queue_full 2×" in text
        assert "3 of 12 pictures were not sent" in text

    def test_nothing_answered_is_no_success(self) -> None:
        found = report(asked(), Log(samples=samples(EVEN, 0, 9)), 9.0, interrupted=False)
        assert not found.passed
        assert "nothing was answered" in rendered(found)

    def test_a_server_without_sticky_users_is_said(self) -> None:
        found = report(asked(users=5), Log(sent=1, answers=[answer(1, "1.0.0")]), 9.0, interrupted=False)
        assert "no header that keeps a user on a version" in rendered(found)
        assert "never were constant long enough" in rendered(found)

    def test_latencies_are_from_when_a_picture_was_due(self) -> None:
        answers = [Answer(due=i, sent=i + 1, answered=i + 1 + (i == 9), version="1.0.0") for i in range(10)]
        log = Log(answers=answers)
        for found in answers:
            log.send(found.due, found.sent)
        (arm,) = report(asked(), log, 12.0, interrupted=False).latencies
        assert (arm.answered, arm.p50, arm.p95, arm.longest) == (10, 1.0, 2.0, 2.0)
        assert "10 pictures went late, at most 1.00 s" in rendered(report(asked(), log, 12.0, interrupted=False))

    def test_it_is_json(self) -> None:
        log = Log(sent=1, answers=[answer(1, "1.0.0")], samples=samples(EVEN, 0, 9) + samples(NEW, 9.5, 12))
        document = json.loads(json.dumps(dataclasses.asdict(report(asked(), log, 12.0, interrupted=False))))
        assert [change["weights"] for change in document["weights"]] == [EVEN, NEW]
        assert document["splits"][0]["shares"][0]["asked"] == 0.5


def test_who_must_move() -> None:
    assert must_move(EVEN, NEW) == 0.4
    assert must_move({"1.0.0": 100}, {"2.0.0": 100}) == 1.0
    assert must_move(NEW, NEW) == 0.0


def test_the_line_and_the_live_view() -> None:
    log = Log(sent=4, answers=[answer(1, "1.0.0"), answer(2, "9.0.0", 2.0)], samples=samples(EVEN, 0, 3))
    log.failures.append(Failure(1.0, "timeout", "none"))
    assert view.line(log, 3.2) == (
        "3 s: sent 4, answered 2, failed 1, in flight 1; p50 100 ms, p95 2.00 s; "
        "seen 1.0.0 50.0 %, 9.0.0 50.0 %; asked 1.0.0 50 %, 2.0.0 50 %"
    )
    assert "nothing" in view.line(Log(), 0.0)
    console = Console(file=io.StringIO(), width=120)
    console.print(view.live(log, 3.2))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(word in text for word in ("failed 1", "2.0.0", "9.0.0", "50 %"))


def test_the_header_is_what_the_server_says() -> None:
    def document(*names: str) -> dict[str, object]:
        return {"components": {"parameters": {n: {"in": "header", "name": n} for n in names}}}

    assert key_header(document("X-Request-Id")) is None
    assert key_header({}) is None
    assert key_header(document("X-Request-Id", "x-route-key")) == "X-Route-Key"
