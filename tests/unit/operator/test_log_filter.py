"""What the operator's log calls an error is one."""

from __future__ import annotations

import logging

import pytest
from matte_operator.controller import downgrade_retries


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("Request attempt #1/9 failed; will retry: GET /apis/ray.io/v1/rayservices -> 429", "WARNING"),
        ("Request attempt #9/9 failed; escalating: GET /apis/ray.io/v1/rayservices -> 429", "ERROR"),
    ],
)
def test_what_is_tried_again_is_no_error(message: str, level: str) -> None:
    record = logging.LogRecord("kopf", logging.ERROR, "", 0, message, None, None)
    assert downgrade_retries(record)
    assert record.levelname == level
