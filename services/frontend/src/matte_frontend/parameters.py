"""Values of parameters before they are options: in JSON, and in two places."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from matte_core.contracts.options import Options
from matte_core.errors import Problem
from pydantic import TypeAdapter, ValidationError

_TYPES: Mapping[str, tuple[type, str]] = dict.fromkeys(("model", "version"), (str, "a string")) | {
    name: (bool, "true or false") if field.annotation is bool else (str, "a string")
    for name, field in Options.model_fields.items()
}


def check_types(document: Mapping[str, object]) -> None:
    """Refuses a parameter in JSON that is neither of the type that the description names nor null.

    A query and a form have nothing but strings, and are read more generously.

    Raises:
        Problem: invalid_parameter.
    """
    errors = [
        {"parameter": name, "message": f"not {text} in JSON"}
        for name, value in document.items()
        for kind, text in [_TYPES.get(name, (object, ""))]
        if value is not None and not isinstance(value, kind)
    ]
    if errors:
        raise Problem(
            "invalid_parameter", "; ".join(f"{e['parameter']}: {e['message']}" for e in errors), errors=errors
        )


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
