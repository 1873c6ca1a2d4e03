"""Problems travel whole."""

from __future__ import annotations

import pickle

import pytest
from matte_core.errors import CODES, Problem


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_problem_survives_its_document(code: str) -> None:
    problem = Problem(code, "what is wrong", retry_after=3, field="x")
    again = Problem.from_document(problem.document("/v1/jobs/1"))
    assert again.document() == problem.document()
    assert pickle.loads(pickle.dumps(problem)).document() == problem.document()
    assert problem.document()["status"] == CODES[code].status
    assert 400 <= CODES[code].status < 600


def test_an_unknown_code_is_refused_here_and_tolerated_from_elsewhere() -> None:
    with pytest.raises(KeyError):
        Problem("no_such_code", "x")
    assert Problem.from_document({"code": "from_the_future", "detail": "x"}).code == "internal_error"
