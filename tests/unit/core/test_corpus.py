"""Every file of the corpus through the admission check, and the accepted ones through the decoder."""

from __future__ import annotations

import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from corpus import CASES, Case
from matte_core.contracts.job import Limits
from matte_core.errors import CODES, Problem
from matte_core.pictures.probe import probe
from matte_inference.pixels.decode import decode

LIMITS = Limits()
MIB = 1 << 20


def name(case: Case) -> str:
    return case.name


def outcome(case: Case) -> str:
    """``ok`` or the problem's code, from the admission check."""
    try:
        probe(case.data, LIMITS)
    except Problem as problem:
        return problem.code
    return "ok"


@contextmanager
def resident_growth(most: int) -> Iterator[None]:
    """The process's peak resident memory may grow by ``most`` bytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 <= most


def test_names_are_unique_and_the_corpus_is_large() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", [case for case in CASES if not case.ok], ids=name)
def test_refused(case: Case) -> None:
    with pytest.raises(Problem) as caught:
        probe(case.data, LIMITS)
    assert caught.value.code in case.expect
    assert caught.value.status in (413, 415, 422)
    assert len(caught.value.detail) > 40
    assert caught.value.detail.endswith(".")
    assert CODES[caught.value.code].title not in caught.value.detail  # people may see both


@pytest.mark.parametrize("case", [case for case in CASES if case.ok], ids=name)
def test_accepted(case: Case) -> None:
    picture = probe(case.data, LIMITS)
    assert (picture.width, picture.height) == case.size
    assert picture.format == case.format


@pytest.mark.parametrize("case", CASES, ids=name)
def test_probing_allocates_little(case: Case) -> None:
    tracemalloc.start()
    try:
        outcome(case)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB  # whatever the file's own size, and the gigabytes it may declare


def test_probing_leaves_memory_as_it_was() -> None:
    with resident_growth(16 * MIB):
        outcomes = {case.name: outcome(case) for case in CASES}
    assert all(outcomes[case.name] in case.expect for case in CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.ok], ids=name)
def test_decoded(case: Case) -> None:
    try:
        with resident_growth(700 * MIB):
            pixels = decode(case.data, LIMITS)
    except Problem as problem:
        assert problem.code in case.decode  # noqa: PT017 - a problem is one of the right answers
        return
    assert "ok" in case.decode
    assert case.size is not None
    assert pixels.rgb.shape == (case.size[1], case.size[0], 3)
    assert pixels.rgb.dtype == np.uint8
    for spot in case.spots:
        seen = pixels.rgb[spot.y, spot.x].astype(int)
        assert np.abs(seen - spot.rgb).max() <= spot.off, (spot, seen)
        alpha = 255 if pixels.alpha is None else int(pixels.alpha[spot.y, spot.x])
        assert alpha == (255 if spot.alpha is None else spot.alpha), spot
