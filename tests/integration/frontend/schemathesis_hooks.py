"""What schemathesis cannot know: pictures, and which parameters contradict each other."""

from __future__ import annotations

import base64
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from integration.frontend.conftest import photo
from matte_core.contracts.options import Options

_PICTURES = (photo(16, 12), photo(9, 7, kind="PNG"))
#: the platform's models that answer nothing, or with 503
_HOPELESS = ("asleep", "broken")
_MARGIN = re.compile(Options.model_json_schema()["properties"]["crop_margin"]["pattern"])

pictures = st.sampled_from(_PICTURES)
schemathesis.openapi.format("binary", pictures)
schemathesis.openapi.media_type("application/octet-stream", pictures)
schemathesis.openapi.media_type("image/*", pictures, aliases=["image/jpeg"])


@schemathesis.hook
def map_case(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Lets more requests through to what lies behind the checks of single parameters."""
    for given in _places(case):
        if given.get("model") == "unet":
            given["model"] = "cut"  # the examples' is not among the platform's
        margin = given.get("crop_margin")
        if given.get("crop") is not True and isinstance(margin, str) and _MARGIN.fullmatch(margin):
            del given["crop_margin"]
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    if case.headers:
        case.headers.pop("Idempotency-Key", None)  # the example's would be reused
    if isinstance(case.body, dict):
        case.query = {}  # what comes twice must be equal
        if "image_b64" in case.body:
            case.body |= {"image_b64": base64.b64encode(_PICTURES[0]).decode()}
            case.body.pop("bg_image_b64", None)
    return case


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leaves out models that nothing can be learned from."""
    return not any(given.get("model") in _HOPELESS for given in _places(case))


def _places(case: schemathesis.Case[Any]) -> list[dict[str, Any]]:
    return [given for given in (case.path_parameters, case.query, case.body) if isinstance(given, dict)]
