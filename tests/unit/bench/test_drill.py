"""What the drill decides: its order, how long a fault was felt, and the verdict."""

from __future__ import annotations

import random
from itertools import islice, pairwise

import pytest
import yaml
from matte_core.contracts.catalog import VersionConfig
from matte_inference.families.registry import load
from matte_jobs.embedded import INLINE_MAX_BYTES

from bench.drill.__main__ import SHORT, options, parse
from bench.drill.pictures import CONFIG, COUNT, VERSIONS, pictures
from bench.drill.plan import (
    BY_NAME,
    HEAVY_PATIENCE,
    KINDS,
    Fault,
    may_inject,
    random_faults,
    split_evenly,
    systematic_faults,
)
from bench.drill.report import Figures, Row, render
from bench.drill.verdict import Job, Leftovers, Probe, Recovery, is_stable, judge, measure_recovery

REFERENCES = {(0, "1.0.0"): "right", (0, "1.1.0"): "other", (1, "1.0.0"): "second"}


def job(**changes: object) -> Job:
    """A job with which all is well."""
    good = Job(0, "poll", 0, "1.0.0", 10.0, "key", "a", 10.1, 11.0, "right", "right", "a", 1)
    for name, value in changes.items():
        setattr(good, name, value)
    return good


class TestPlan:
    def test_each_kind_is_killed_then_stopped(self) -> None:
        faults = systematic_faults(KINDS, 20.0)
        assert [(fault.kind.name, fault.signal) for fault in faults[:3]] == [
            ("frontend", "SIGKILL"), ("frontend", "SIGSTOP 20 s"), ("router", "SIGKILL"),
        ]  # fmt: skip
        assert len(faults) == 2 * len(KINDS)
        assert len(systematic_faults(KINDS, 0.0)) == len(KINDS)

    def test_a_seed_repeats_what_is_drawn(self) -> None:
        one, same, other = (list(islice(random_faults(random.Random(seed), KINDS, 20.0), 200)) for seed in (1, 1, 2))
        assert one == same != other
        assert {fault.kind for _, fault in one} == set(KINDS)
        assert {fault.stop_seconds is None for _, fault in one} == {True, False}
        assert all(fault.stop_seconds is None or 0 < fault.stop_seconds <= 20 for _, fault in one)
        assert all(fault.stop_seconds is None for _, fault in islice(random_faults(random.Random(1), KINDS, 0.0), 200))

    def test_a_second_heavy_fault_waits_for_an_answer_sent_after_the_first(self) -> None:
        heavy, light = Fault(BY_NAME["raylet"]), Fault(BY_NAME["replica"])
        assert may_inject(heavy, now=100, heavy_at=None, answered=None)
        assert not may_inject(heavy, now=100, heavy_at=90, answered=None)
        assert not may_inject(heavy, now=100, heavy_at=90, answered=89)
        assert may_inject(heavy, now=100, heavy_at=90, answered=91)
        assert may_inject(heavy, now=91 + HEAVY_PATIENCE, heavy_at=90, answered=None)
        assert may_inject(light, now=100, heavy_at=90, answered=None)

    def test_all_jobs_are_shared_out(self) -> None:
        assert split_evenly(500, 23) == [22] * 17 + [21] * 6

    def test_the_short_drill_is_shorter(self) -> None:
        short, whole, own = (options(parse(line)) for line in (["--short"], [], ["--kinds", "redis", "--minutes", "1"]))
        assert {kind.name for kind in short.kinds} == set(SHORT)
        assert (whole.jobs, whole.seconds, whole.kinds) == (500, 300.0, KINDS)
        assert short.jobs < whole.jobs
        assert short.seconds < whole.seconds
        assert (own.kinds, own.seconds) == ((BY_NAME["redis"],), 60.0)

    def test_a_kind_that_is_not_there_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--kinds", "router,rooter"])
        assert "there is no kind rooter" in capsys.readouterr().err


class TestRecovery:
    def test_first_answer_and_the_end_of_the_disturbance(self) -> None:
        probes = [
            Probe(99.0, 99.25),
            Probe(100.5, 100.75),
            Probe(101.0, 131.0),
            Probe(101.5, 131.5),
            Probe(132.0, 132.2),
        ]
        jobs = [job(accepted=99.0, answered=133.0), job(accepted=101.0, answered=190.0)]
        assert measure_recovery(100.0, 132.5, probes, jobs) == Recovery(0.75, 31.5, 33.0)

    def test_what_nobody_noticed(self) -> None:
        found = measure_recovery(100.0, 103.0, [Probe(100.5, 101.0), Probe(102.0)], [])
        assert found == Recovery(1.0, 1.0, 0.0)

    def test_what_is_not_over(self) -> None:
        assert measure_recovery(100.0, 110.0, [Probe(100.5, None)], [job(accepted=99.0, answered=None)]) == Recovery(
            None, None, None
        )

    def test_the_server_is_well_after_several_answers_in_a_row(self) -> None:
        good = [Probe(100.0 + n, 100.2 + n) for n in range(4)]
        assert is_stable(99.0, 104.0, good)
        assert not is_stable(100.5, 104.0, good)
        assert not is_stable(99.0, 110.0, [*good, Probe(104.0)])
        assert not is_stable(99.0, 110.0, [*good[:3], Probe(103.0, 109.0)])
        assert is_stable(99.0, 112.0, [Probe(99.5, 109.0), *good])


class TestVerdict:
    def test_all_is_well(self) -> None:
        gradio = job(id="b", api="gradio", version="", digest="other", reread_digest="other", resent_id="")
        assert judge([job(), gradio], REFERENCES, Leftovers(), {}).ok

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"digest": "second", "reread_digest": "second"}, "another picture"),
            ({"digest": "other", "reread_digest": "other"}, "another picture"),
            ({"reread_digest": ""}, "not the same when it was read again"),
            ({"resent_id": "z"}, "it was z"),
            ({"finished_events": 2}, "2 finished events"),
            ({"finished_events": 0}, "0 finished events"),
        ],
    )
    def test_changed(self, changes: dict[str, object], line: str) -> None:
        verdict = judge([job(**changes)], REFERENCES, Leftovers(), {})
        assert len(verdict.changed) == 1
        assert line in verdict.changed[0]
        assert not verdict.ok

    def test_two_jobs_with_one_id(self) -> None:
        assert "have one id" in judge([job(), job(number=1)], REFERENCES, Leftovers(), {}).changed[0]

    def test_lost_and_stuck(self) -> None:
        lost = judge([job(failure="404 job_not_found")], REFERENCES, Leftovers(), {})
        assert (len(lost.lost), lost.changed, lost.stuck) == (1, [], [])
        stuck = judge([job(answered=None)], REFERENCES, Leftovers(), {})
        assert (stuck.lost, stuck.changed, len(stuck.stuck)) == ([], [], 1)

    @pytest.mark.parametrize(
        ("left", "broken"),
        [
            (Leftovers(queued=1), {}),
            (Leftovers(leased=1), {}),
            (Leftovers(processes=["raylet"]), {}),
            (Leftovers(), {"500": 1}),
        ],
    )
    def test_what_is_left_over_counts(self, left: Leftovers, broken: dict[str, int]) -> None:
        assert not judge([job()], REFERENCES, left, broken).ok


def test_the_report_says_what_happened() -> None:
    rows = [Row("raylet", "SIGKILL", 9, Recovery(0.7, 31.46, None), ["! a | b", "ready"])]
    verdict = judge([job(failure="404")], REFERENCES, Leftovers(), {})
    chosen = options(parse(["--seed", "7"]))
    text = render(Figures("2 cores", "2026-11-24", "abc", chosen, rows, {"redis SIGKILL": 2}, 4.0, 1, 3, {}, verdict))
    assert "| raylet | SIGKILL | 9 | 0.7 | 31.5 | not | ! a \\| b<br>ready |" in text
    assert "1 jobs: 1 lost, 0 changed, 0 stuck" in text
    assert "redis SIGKILL 2 ×" in text
    assert "## Lost" in text
    assert "## Changed" not in text
    widths = {line.count(" | ") for line, _ in pairwise(text.splitlines()) if line.startswith("| raylet")}
    assert widths == {6}


def test_its_models_can_be_loaded_and_its_pictures_differ() -> None:
    versions = yaml.safe_load(CONFIG)["versions"]
    digests = {load(VersionConfig(**{k: v for k, v in one.items() if k != "weight"})).digest for one in versions}
    assert len(digests) == len(VERSIONS)
    assert len(set(pictures())) == COUNT
    assert {len(data) > INLINE_MAX_BYTES for data in pictures()} == {True, False}
