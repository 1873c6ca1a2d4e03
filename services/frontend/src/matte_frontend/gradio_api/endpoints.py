"""The endpoints as Gradio's clients see them. Their signatures are all that counts: no body ever runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradio import Server
from gradio.data_classes import FileData
from matte_core.contracts.options import Format, Size
from matte_core.errors import Problem


def remove_background(  # noqa: PLR0913, PLR0917 - what a caller may ask
    image: FileData,
    model: str = "",
    version: str = "",
    output: Literal["cutout", "mask"] = "cutout",
    format: Format = "auto",  # noqa: A002 - remove.bg's name
    size: Size = "auto",
    crop: bool = False,  # noqa: FBT001, FBT002 - clients pass by position
    crop_margin: str = "",
    bg_color: str = "",
    decontaminate: bool = False,  # noqa: FBT001, FBT002
    hints: str = "",
) -> FileData:
    """Cuts the subject of a picture out."""
    raise NotImplementedError  # served by the durable queue


def segment(image: FileData, model: str = "", version: str = "") -> FileData:
    """The mask of a picture's subject."""
    raise NotImplementedError  # served by the durable queue


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint's parameters in order, their defaults, and what it always asks for."""

    name: str
    names: tuple[str, ...]
    defaults: Mapping[str, object]
    fixed: Mapping[str, object]

    def bind(self, data: Sequence[object]) -> tuple[object, dict[str, object]]:
        """The image as it came, and the parameters that differ from their defaults.

        Raises:
            Problem: malformed_request, picture_missing.
        """
        if len(data) > len(self.names):
            raise Problem("malformed_request", f"/{self.name} takes at most {len(self.names)} values.")
        return self.bind_named(dict(zip(self.names, data, strict=False)))

    def bind_named(self, values: Mapping[str, object]) -> tuple[object, dict[str, object]]:
        """:meth:`bind` for values by name.

        Raises:
            Problem: unknown_parameter, picture_missing.
        """
        for name in values:
            if name not in self.names:
                raise Problem(
                    "unknown_parameter", f"/{self.name} has no parameter {name!r}.",
                    parameter=name, allowed=list(self.names),
                )  # fmt: skip
        image = values.get("image")
        if image is None:
            raise Problem("picture_missing", f"/{self.name} needs the parameter image, an uploaded file.")
        given = {n: v for n, v in values.items() if n != "image" and v is not None and v != self.defaults[n]}
        return image, given | dict(self.fixed)


def _endpoint(function: object, **fixed: object) -> Endpoint:
    assert inspect.isfunction(function)
    parameters = inspect.signature(function).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    return Endpoint(function.__name__, tuple(parameters), defaults, fixed)


ENDPOINTS = {e.name: e for e in (_endpoint(remove_background), _endpoint(segment, output="mask"))}


def declared() -> Server:
    """A server that declares them."""
    server = Server(title="Matte", docs_url=None, redoc_url=None, openapi_url=None)
    for function in (remove_background, segment):
        server.api(function, name=function.__name__, description=function.__doc__)
    return server
