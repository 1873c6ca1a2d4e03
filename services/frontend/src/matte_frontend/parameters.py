"""Values of one parameter that came in two places."""

from __future__ import annotations

import functools
from typing import Annotated, Any

from matte_core.contracts.options import Options
from pydantic import TypeAdapter, ValidationError


def same_value(name: str, one: object, other: object) -> bool:
    """Whether both mean the same: ``true`` in a query and ``True`` in JSON do."""
    if one == other and isinstance(one, type(other)):
        return True
    if name not in Options.model_fields:
        return str(one) == str(other)
    try:
        return bool(_adapter(name).validate_python(one) == _adapter(name).validate_python(other))
    except ValidationError:
        return False


@functools.cache
def _adapter(name: str) -> TypeAdapter[Any]:
    field = Options.model_fields[name]
    kind: Any = field.annotation
    return TypeAdapter(Annotated[kind, *field.metadata] if field.metadata else kind)
